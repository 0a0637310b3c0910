"""When a node may go down, and when it is back."""

from itertools import count

import pytest

from cpkit.errors import Exit, UsageError
from cpkit.health import Finding, exit_code, settle
from cpkit.health.gate import after, before, stoppable, summary
from tests.unit.cases import cases
from tests.unit.health_snapshots import Raw, Spoil, captured, certificate, host, silence, spoiled

HEALTHY = captured("healthy")


def stop(*names: str) -> Spoil:
    """The API server of these nodes is not ready."""

    def spoil(raw: Raw) -> None:
        for name in names:
            host(raw, name)["probes"]["readyz"] = {"status": 500, "failed": ["etcd"]}

    return spoil


@cases("node", ["cp1", "cp2", "cp3", "lb1", "lb2"])
def test_any_node_of_a_healthy_cluster_may_go_down(node: str) -> None:
    assert exit_code(before(HEALTHY, node)) == Exit.OK


@cases("node", ["cp1", "cp2", "cp3", "lb1", "lb2"])
def test_every_node_of_a_healthy_cluster_is_back(node: str) -> None:
    assert exit_code(after(HEALTHY, node)) == Exit.OK


def test_a_sick_node_elsewhere_holds_the_gate_shut_unless_degraded_is_allowed() -> None:
    sick = spoiled(stop("cp1"))
    assert exit_code(before(sick, "cp2")) == Exit.REFUSED
    assert exit_code(before(sick, "cp2", allow_degraded=True)) == Exit.OK


def test_the_sick_node_itself_may_go_down() -> None:
    assert exit_code(before(captured("api_stopped"), "cp1")) == Exit.OK
    assert exit_code(before(spoiled(silence("cp3")), "cp3", allow_degraded=True)) == Exit.OK


def test_the_quorum_floor_is_never_lowered() -> None:
    for node in ("cp1", "cp2"):
        assert exit_code(before(spoiled(silence("cp3")), node, allow_degraded=True)) == Exit.REFUSED
    for node in ("cp1", "cp2", "cp3"):
        assert exit_code(before(captured("two_off"), node, allow_degraded=True)) == Exit.REFUSED


def test_the_last_ready_api_server_stays_up() -> None:
    last = spoiled(stop("cp1", "cp3"))
    assert exit_code(before(last, "cp2", allow_degraded=True)) == Exit.REFUSED
    assert exit_code(before(last, "cp1", allow_degraded=True)) == Exit.OK


def test_a_node_nobody_could_ask_holds_the_gate_shut_as_unknown() -> None:
    assert exit_code(before(spoiled(silence("lb2")), "cp2")) == Exit.UNKNOWN


def test_a_balancer_needs_another_that_serves() -> None:
    assert exit_code(before(spoiled(silence("lb2")), "lb1", allow_degraded=True)) == Exit.UNKNOWN
    assert exit_code(before(captured("haproxy_stopped"), "lb2", allow_degraded=True)) == Exit.REFUSED
    assert exit_code(before(captured("haproxy_stopped"), "lb1", allow_degraded=True)) == Exit.OK


@pytest.mark.parametrize(
    ("check", "path", "change"),
    [
        ("certs.keys", "apiserver.crt", {"key": "mismatch"}),
        ("certs.chain", "etcd/peer.crt", {"signed_by": ""}),
        ("certs.names", "etcd/server.crt", {"sans": ["localhost"]}),
        ("certs.valid", "scheduler.crt", {"not_after": 1.0}),
        ("certs.authorities", "pki/ca.crt", {"fingerprint": "of another"}),
    ],
)
def test_a_node_that_could_not_come_back_stays_up_unless_the_change_mends_just_that(
    check: str, path: str, change: Raw
) -> None:
    def spoil(raw: Raw) -> None:
        certificate(raw, "cp2", path).update(change)

    found = before(spoiled(spoil), "cp2")
    assert exit_code(found) == Exit.REFUSED
    assert {each.check for each in found if each.blocks} == {check}
    assert exit_code(before(spoiled(spoil), "cp2", allow_degraded=True)) == Exit.REFUSED
    assert exit_code(before(spoiled(spoil), "cp2", despite=[check])) == Exit.OK
    assert exit_code(before(spoiled(spoil), "cp1")) == Exit.OK, "it is cp2's own matter"


def test_a_certificate_that_ends_soon_keeps_no_node_from_a_restart() -> None:
    def spoil(raw: Raw) -> None:
        certificate(raw, "cp2", "apiserver.crt").update(not_after=raw["taken"] + 3600.0)

    assert exit_code(before(spoiled(spoil), "cp2")) == Exit.OK


def test_a_node_is_not_back_before_it_serves_what_lies_on_its_disk() -> None:
    def spoil(raw: Raw) -> None:
        certificate(raw, "cp2", "etcd/server.crt").update(fingerprint="new")

    assert exit_code(after(spoiled(spoil), "cp2")) == Exit.REFUSED
    assert exit_code(after(spoiled(spoil), "cp2", despite=["certs.served"])) == Exit.OK


def test_a_check_to_pass_over_must_exist() -> None:
    with pytest.raises(UsageError, match=r"certs\.nothing"):
        before(HEALTHY, "cp1", despite=["certs.nothing"])


def test_the_only_member_and_the_only_balancer_may_go_down() -> None:
    def shrink(raw: Raw) -> None:
        raw["plan"].update(control_plane={"cp1": "10.203.0.11"}, load_balancers={"lb1": "10.203.0.21"})
        raw["etcd"]["members"] = [row for row in raw["etcd"]["members"] if row["name"] == "cp1"]
        raw["etcd"]["statuses"] = {"cp1": raw["etcd"]["statuses"]["cp1"]}
        raw["nodes"] = {name: raw["nodes"][name] for name in ("cp1", "lb1")}

    alone = spoiled(shrink)
    for node in ("cp1", "lb1"):
        floor = before(alone, node, allow_degraded=True)
        assert exit_code(floor) == Exit.OK
        assert "the only" in floor[0].text


@pytest.mark.parametrize(("name", "node"), [("api_stopped", "cp1"), ("etcd_frozen", "cp1"), ("haproxy_stopped", "lb1")])
def test_a_node_that_is_not_well_is_not_back(name: str, node: str) -> None:
    assert exit_code(after(captured(name), node)) == Exit.REFUSED


def test_another_node_s_trouble_does_not_keep_a_node_from_being_back() -> None:
    assert exit_code(after(captured("api_stopped"), "cp2")) == Exit.OK


def test_a_member_that_is_behind_is_not_back() -> None:
    behind = spoiled(lambda raw: raw["etcd"]["statuses"]["cp2"].update(applied=1))
    assert exit_code(after(behind, "cp2")) == Exit.REFUSED


def test_a_node_that_is_not_in_the_inventory_is_the_user_s_mistake() -> None:
    for question in (before, after):
        with pytest.raises(UsageError, match="cp9"):
            question(HEALTHY, "cp9")


def test_the_summary_offers_only_nodes_whose_gate_is_open() -> None:
    assert summary(HEALTHY).endswith(f"; {stoppable(HEALTHY)[0]} may be taken down")
    assert stoppable(captured("api_stopped")) == ("cp1",)
    assert summary(spoiled(stop("cp1", "cp2"))).endswith("none may be taken down")


def finding(level: str) -> tuple[Finding, ...]:
    return (Finding("x", "", level, "text", "hint"),)  # type: ignore[arg-type]


def settled(levels: str, *, deadline: float, stable: int = 1) -> tuple[int, str]:
    """How many readings were taken, and the level of the last; the last level repeats."""
    names = {"o": "ok", "f": "fail", "u": "unknown", "w": "warn"}
    taken = count()
    found = settle(
        lambda: levels[min(next(taken), len(levels) - 1)],
        lambda letter: finding(names[letter]),
        deadline=deadline,
        stable=stable,
        pause=0.0,
    )
    return next(taken), found[0].level


def test_settling_stops_at_the_first_good_reading() -> None:
    assert settled("ffuo", deadline=60) == (4, "ok")
    assert settled("w", deadline=60) == (1, "warn")


def test_settling_asks_once_without_a_deadline() -> None:
    assert settled("fo", deadline=0) == (1, "fail")


def test_settling_wants_as_many_good_readings_in_a_row_as_asked_for() -> None:
    assert settled("ofoo", deadline=60, stable=2) == (4, "ok")


def test_a_good_reading_at_the_deadline_is_confirmed_before_it_counts() -> None:
    assert settled("of", deadline=0, stable=2) == (2, "fail")


def test_settling_gives_up_at_the_deadline() -> None:
    taken, level = settled("f", deadline=0.05)
    assert taken > 1
    assert level == "fail"
