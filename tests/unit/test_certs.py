"""What is listed of certificates and keys, and what is said of each."""

from typing import Any

import pytest

from cpkit.health.credentials import Credential, credentials, ends_first
from cpkit.pki.leaves import NAMES
from tests.unit.health_snapshots import Raw, Spoil, captured, certificate, host, silence, spoiled

DAY = 86400.0


def listed(*spoils: Spoil) -> dict[tuple[str, str], Credential]:
    return {(each.node, each.name): each for each in credentials(spoiled(*spoils))}


def cert(node: str, name: str, **changes: Any) -> Spoil:
    return lambda raw: certificate(raw, node, name).update(changes)


def test_every_leaf_ca_kubeconfig_and_key_of_every_node_is_listed() -> None:
    for node in ("cp1", "cp2", "cp3"):
        names = {name for on, name in listed() if on == node}
        assert names >= {*NAMES, "ca", "etcd/ca", "front-proxy-ca", "sa.key", "encryption key key1", "loopback"}
    assert {each.level for each in listed().values()} == {"ok"}


def test_a_node_that_does_not_answer_is_one_unknown_line() -> None:
    mine = [each for (node, _), each in listed(silence("cp2"), silence("lb1")).items() if node in {"cp2", "lb1"}]
    assert [(each.node, each.kind, each.level) for each in mine] == [(n, "unknown", "unknown") for n in ("cp2", "lb1")]
    assert all(each.error == "cannot be reached" for each in mine)


def drop_served(raw: Raw) -> None:
    del raw["nodes"]["cp1"]["served"]["2380"]


@pytest.mark.parametrize(
    ("name", "level", "what", "spoil"),
    [
        ("apiserver", "fail", "served", cert("cp1", "/apiserver.crt", fingerprint="0")),
        ("etcd/peer", "unknown", "served", drop_served),
        ("scheduler", "fail", "key", cert("cp1", "/scheduler.crt", key="mismatch")),
        ("scheduler", "fail", "key", cert("cp1", "/scheduler.crt", key="absent")),
        ("apiserver", "fail", "signed_by", cert("cp1", "/apiserver.crt", signed_by="")),
        ("front-proxy-client", "fail", "accepted", lambda raw: host(raw, "cp1")["clients"].update(
            {"front-proxy-client": {"status": 401}})),
        ("etcd/server", "warn", "not_after", lambda raw: certificate(raw, "cp1", "etcd/server.crt").update(
            not_after=raw["taken"] + 20 * DAY)),
        ("loopback", "warn", "not_after", lambda raw: raw["nodes"]["cp1"]["served"]["loopback"].update(
            not_after=raw["taken"] + 50 * DAY)),
        ("sa.key", "fail", "key", lambda raw: host(raw, "cp1")["keys"]["/etc/kubernetes/pki/sa.key"].update(
            state="mismatch")),
    ],
)  # fmt: skip
def test_what_is_not_well_is_marked_on_its_line_and_no_other(name: str, level: str, what: str, spoil: Spoil) -> None:
    before, after = listed(), listed(spoil)
    assert after["cp1", name].level == level
    assert getattr(after["cp1", name], what) != getattr(before["cp1", name], what)
    assert [place for place, each in after.items() if each.level != "ok"] == [("cp1", name)]


def test_a_server_that_is_away_says_nothing_about_a_certificate() -> None:
    def away(raw: Raw) -> None:
        host(raw, "cp1")["clients"]["scheduler"] = {"status": 0, "error": "Connection refused"}

    assert listed(away)["cp1", "scheduler"].accepted == "unknown"


def test_what_ends_first_is_found_among_all_that_ends() -> None:
    soon = cert("cp3", "etcd/peer.crt", not_after=captured("healthy").taken + DAY)
    first = ends_first(credentials(spoiled(soon)))
    assert first is not None
    assert (first.node, first.name) == ("cp3", "etcd/peer")
