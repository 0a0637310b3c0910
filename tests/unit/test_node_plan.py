"""What a change of nodes finds: which member is whose, what forbids it, and where a run that was cut off goes on."""

import pytest

from cpkit.errors import Refused, Unreachable, UsageError
from cpkit.facts.snapshot import Snapshot
from cpkit.health.quorum import State
from cpkit.operations import node_plan
from cpkit.operations.node_replace import judged
from cpkit.operations.node_run import Options
from tests.unit.cases import cases
from tests.unit.health_snapshots import Raw, Spoil, silence, spoiled

OTHER = "10.203.0.31"
CP2 = Options(("cp2",))


def dead(node: str) -> Spoil:
    """Its machine has no power: nobody reaches any of its ports."""

    def spoil(raw: Raw) -> None:
        silence(node)(raw)
        for facts in raw["nodes"].values():
            peers = facts["host"]["peers"] if facts["host"] else {}
            peers.update({target: "No route to host" for target in peers if target.startswith(f"{node}:")})

    return spoil


def without_data(node: str, *, data: bool = False) -> Spoil:
    """Its machine answers, and its etcd does not."""

    def spoil(raw: Raw) -> None:
        raw["nodes"][node]["host"]["etcd_data"] = data
        raw["etcd"]["statuses"][node] = {"error": "connection refused"}

    return spoil


def member(node: str, **changes: object) -> Spoil:
    def spoil(raw: Raw) -> None:
        next(row for row in raw["etcd"]["members"] if row["name"] == node).update(changes)

    return spoil


def no_member(node: str) -> Spoil:
    def spoil(raw: Raw) -> None:
        raw["etcd"]["members"] = [row for row in raw["etcd"]["members"] if row["name"] != node]

    return spoil


def readdressed(node: str, address: str) -> Spoil:
    """The inventory has another address for the node, and its machine there has nothing yet."""

    def spoil(raw: Raw) -> None:
        raw["plan"]["control_plane"][node] = raw["nodes"][node]["address"] = address
        raw["etcd"]["servers"] = [f"10.203.0.1{number}" for number in (1, 3)]
        without_data(node)(raw)

    return spoil


def words(found: object) -> list[str]:
    return [stage.what for stage in found.stages]  # type: ignore[attr-defined]


BACK = ["now", "without cp2", "with cp2"]


@cases(
    ("snapshot", "stages"),
    [
        (spoiled(without_data("cp2")), BACK),  # its disk is gone
        (spoiled(no_member("cp2"), without_data("cp2")), ["now", "with cp2"]),  # cut off after the dead one left
        (spoiled(no_member("cp2"), without_data("cp2", data=True)), ["now", "with cp2"]),  # its old data is there
        (spoiled(member("cp2", name="", learner=True), without_data("cp2")), ["now", "with cp2"]),  # announced
        (spoiled(member("cp2", learner=True), without_data("cp2", data=True)), ["now", "with cp2"]),  # started once
        (spoiled(member("cp2", learner=True), without_data("cp2")), BACK),  # started, and its data is gone again
        (spoiled(readdressed("cp2", OTHER)), BACK),  # the user has written the new address
    ],
)
def test_a_replacement_goes_on_from_wherever_the_member_is(snapshot: Snapshot, stages: list[str]) -> None:
    found = judged(snapshot, "cp2", CP2, moves=False)
    assert words(found) == stages
    assert (found.gone is not None) == ("without cp2" in stages)
    assert not found.nothing


def test_a_machine_without_power_gives_its_place_to_another_one() -> None:
    found = judged(spoiled(dead("cp2")), "cp2", Options(("cp2",), OTHER), moves=True)
    assert words(found) == BACK
    with pytest.raises(Unreachable, match="no machine answers in its place"):
        judged(spoiled(dead("cp2")), "cp2", CP2, moves=False)


def test_what_lives_is_not_replaced() -> None:
    assert judged(spoiled(), "cp2", CP2, moves=False).nothing
    with pytest.raises(Refused, match="would come back beside the new one"):
        judged(spoiled(), "cp2", CP2, moves=True)
    with pytest.raises(Refused, match=r"answers .*"):
        judged(spoiled(silence("cp2")), "cp2", CP2, moves=True)
    down = spoiled(without_data("cp2", data=True))
    with pytest.raises(Refused, match="its data is still there"):
        judged(down, "cp2", CP2, moves=False)
    assert words(judged(down, "cp2", Options(("cp2",), abandon_data=True), moves=False)) == BACK


def test_nobody_is_replaced_while_another_node_is_not_well_unless_it_has_to_be() -> None:
    snapshot = spoiled(
        without_data("cp2"), lambda raw: raw["nodes"]["cp3"]["host"]["probes"]["readyz"].update(status=500)
    )
    with pytest.raises(Refused, match=r"cp3: the rest of the cluster is not well: api.ready"):
        judged(snapshot, "cp2", CP2, moves=False)
    assert words(judged(snapshot, "cp2", Options(("cp2",), allow_degraded=True), moves=False)) == BACK
    two = spoiled(without_data("cp2"), without_data("cp3"))
    with pytest.raises(Refused, match="no quorum"):
        judged(two, "cp2", Options(("cp2",), allow_degraded=True), moves=False)


def test_a_member_of_another_address_is_known_by_its_name_and_a_stranger_by_its_id() -> None:
    moved = spoiled(readdressed("cp2", OTHER))
    row = node_plan.row_of(moved, "cp2")
    assert row is not None
    assert node_plan.known_as(moved, ["cp2"]).plan.control_plane["cp2"] == "10.203.0.12"
    with pytest.raises(Refused, match="etcd has a member cp2") as refused:
        node_plan.refuse_strangers(moved)
    assert refused.value.hint == "If it is gone for good: cpkit node remove cp2"
    alive = spoiled(readdressed("cp2", OTHER), lambda raw: raw["etcd"]["servers"].append("10.203.0.12"))
    with pytest.raises(Refused, match=r"serves at 10.203.0.12 still"):
        judged(alive, "cp2", CP2, moves=False)
    lone = spoiled(member("cp2", name="", peer_urls=["https://10.203.0.99:2380"]))
    assert row is not None
    known = node_plan.known_as(lone, [row.id])
    assert known.plan.control_plane[row.id] == "10.203.0.99"
    assert node_plan.seat(known, row.id) is State.SILENT
    node_plan.refuse_strangers(known)


def test_what_a_machine_that_is_to_join_says_of_the_others_does_not_count() -> None:
    snapshot = spoiled(lambda raw: raw["nodes"]["cp2"]["host"].update(peers={"cp1:2380": "No such file or directory"}))
    node_plan.refuse_unwell(snapshot, ["cp2"], allow_degraded=False)
    with pytest.raises(Refused, match=r"node\.peers"):
        node_plan.refuse_unwell(snapshot, [], allow_degraded=False)


def test_the_list_of_members_is_compared_as_the_agent_tells_it() -> None:
    from cpkit.facts.agent.units import flags

    line = b"kube-apiserver\0--etcd-servers=https://192.0.2.2:2379,https://192.0.2.1:2379\0"
    assert flags(line)[node_plan.FLAG] == node_plan.servers(["192.0.2.1", "192.0.2.2"])


def test_new_nodes_need_an_address_and_old_ones_keep_theirs() -> None:
    from cpkit.inventory import load

    cluster = load("inventories/lab")
    assert node_plan.named(["cp4=192.0.2.4", "cp1"], cluster) == {"cp4": "192.0.2.4", "cp1": "10.203.0.11"}
    with pytest.raises(UsageError, match="not in the inventory"):
        node_plan.named(["cp4"], cluster)
    with pytest.raises(UsageError, match=r"cp1 has the address 10.203.0.11"):
        node_plan.named(["cp1=192.0.2.4"], cluster)


def test_a_member_is_known_to_be_down_only_by_its_own_node() -> None:
    def off(raw: Raw) -> None:
        raw["nodes"]["cp2"]["host"]["units"]["etcd"].update(state="activating", sub="auto-restart")

    assert node_plan.stopped(spoiled(off), "cp2")
    assert not node_plan.stopped(spoiled(), "cp2")
    assert not node_plan.stopped(spoiled(silence("cp2")), "cp2")
