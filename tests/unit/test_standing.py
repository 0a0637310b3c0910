"""What a bootstrap finds; members that come and go are another command's work."""

import pytest

from cpkit.errors import Refused
from cpkit.facts.snapshot import Snapshot
from cpkit.health import judge
from cpkit.health.standing import standing
from tests.unit.health_snapshots import Raw, spoiled
from tests.unit.test_rolling import five


def four(raw: Raw) -> None:
    """One more node, made of the third, and one more member."""
    five(raw)
    for place in (raw["plan"]["control_plane"], raw["nodes"], raw["etcd"]["statuses"]):
        del place["cp5"]
    raw["etcd"]["members"].pop()
    raw["etcd"]["servers"].append("10.203.0.14")
    for balancer in ("lb1", "lb2"):
        del raw["nodes"][balancer]["host"]["servers"]["cp5"]


def bare(raw: Raw) -> None:
    """Nothing runs anywhere yet."""
    raw["etcd"] = {}
    for facts in raw["nodes"].values():
        facts["host"].update(units={}, etcd_data=False)


def only(*names: str) -> Snapshot:
    def spoil(raw: Raw) -> None:
        bare(raw)
        raw["plan"]["control_plane"] = {name: raw["plan"]["control_plane"][name] for name in names}

    return spoiled(spoil)


def test_bare_machines_become_a_new_cluster() -> None:
    assert standing(only("cp1", "cp2", "cp3")).stage == "new"


def test_an_even_number_that_runs_is_warned_of() -> None:
    snapshot = spoiled(four)
    assert standing(snapshot).stage == "running"
    warned = [found.text for found in judge(snapshot, ["etcd.members"]) if found.level != "ok"]
    assert warned == ["4 voters tolerate no more failures than 3; add one more, or take one out"]


def test_members_that_the_inventory_lacks_and_nodes_that_are_no_members_yet_are_told_with_the_way_out() -> None:
    with pytest.raises(Refused) as refused:
        standing(spoiled(lambda raw: raw["etcd"]["members"].pop()))
    assert refused.value.hint == "Let it join: cpkit node add cp3"
    with pytest.raises(Refused) as refused:
        standing(spoiled(lambda raw: raw["plan"]["control_plane"].pop("cp3")))
    assert "cpkit node remove cp3" in refused.value.hint


def test_an_api_server_of_nobody_is_named() -> None:
    snapshot = spoiled(lambda raw: raw["etcd"]["servers"].append("10.203.0.31"))
    (found,) = judge(snapshot, ["api.strangers"])
    assert (found.level, found.text.split(" serves")[0]) == ("fail", "an API server at 10.203.0.31")
    (found,) = judge(spoiled(lambda raw: raw["etcd"].update(servers=None)), ["api.strangers"])
    assert found.level == "unknown"


def test_a_single_node_behind_balancers_has_no_peers_and_is_healthy_without() -> None:
    def alone(raw: Raw) -> None:
        raw["plan"]["control_plane"] = {"cp1": raw["plan"]["control_plane"]["cp1"]}
        raw["nodes"]["cp1"]["host"]["peers"] = {}

    assert not [found for found in judge(spoiled(alone), ["node.peers"]) if found.blocks]
