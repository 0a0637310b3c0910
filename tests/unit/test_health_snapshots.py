"""What is said of clusters that were really in that state."""

import pytest

from cpkit.errors import Exit
from cpkit.health import CHECKS, exit_code, judge
from cpkit.health.members import membership
from tests.unit.health_snapshots import NAMES, Raw, captured, document, silence, spoiled

every = pytest.mark.parametrize("name", NAMES)


@every
def test_findings_are_the_expected_ones(name: str) -> None:
    wanted = document(name)
    found = judge(captured(name))
    said = [" ".join((each.level, each.check, each.node or "cluster")) for each in found if each.level != "ok"]
    assert said == wanted["expected"]
    assert exit_code(found) == wanted["exit"]
    assert membership(captured(name)).words() == wanted["words"]


@every
def test_whatever_is_not_well_comes_with_advice(name: str) -> None:
    assert [each for each in judge(captured(name)) if each.level != "ok" and not each.hint] == []


@every
def test_no_private_key_is_kept(name: str) -> None:
    assert "PRIVATE KEY" not in str(document(name))


def test_every_check_has_its_say_on_a_healthy_cluster() -> None:
    assert {each.check for each in judge(captured("healthy"))} == set(CHECKS)


def test_every_check_states_a_promise() -> None:
    assert [check.name for check in CHECKS.values() if not check.promise.endswith(".")] == []


@pytest.mark.parametrize("node", ["cp1", "cp3", "lb1"])
def test_a_node_nobody_could_ask_makes_every_check_of_its_kind_unknown(node: str) -> None:
    found = judge(spoiled(silence(node)))
    kinds = {"node", "control_plane" if node.startswith("cp") else "load_balancer"}
    for check in CHECKS.values():
        if check.scope in kinds:
            assert [each.level for each in found if each.check == check.name and each.node == node] == ["unknown"]
    assert exit_code(found) == Exit.UNKNOWN


def test_two_nodes_out_of_our_reach_are_not_a_lost_quorum_while_a_read_succeeds() -> None:
    found = judge(spoiled(silence("cp1"), silence("cp2")), ["etcd.quorum"])
    assert [each.level for each in found] == ["unknown"]
    assert "takes writes" in found[0].text


def nobody_told_of_servers(raw: Raw) -> None:
    raw["etcd"]["servers"] = None


def test_nobody_answers() -> None:
    everybody = ("cp1", "cp2", "cp3", "lb1", "lb2")
    snapshot = spoiled(*map(silence, everybody), lambda raw: raw.update(endpoint=None), nobody_told_of_servers)
    found = judge(snapshot)
    assert {each.level for each in found} == {"unknown"}
    assert exit_code(found) == Exit.UNKNOWN
