"""What etcd's upkeep may do: whom to defragment, in which order, who may lead, what to compact."""

from typing import Any

import pytest

from cpkit.errors import CpkitError, Refused, Unreachable, UsageError
from cpkit.facts.snapshot import MemberStatus
from cpkit.health.upkeep import (
    MIB,
    Thresholds,
    candidates,
    compaction,
    full,
    obstacles,
    order,
    refuse_as_leader,
    room,
    room_needed,
    setbacks,
    successor,
)
from tests.unit.cases import cases
from tests.unit.health_snapshots import Raw, Spoil, host, silence, spoiled

NAMES = ("cp1", "cp2", "cp3")
LEADER = "cp1"  # in the captured snapshot


def member(node: str, **fields: Any) -> Spoil:
    """A member says something else of itself."""

    def spoil(raw: Raw) -> None:
        raw["etcd"]["statuses"][node].update(fields)

    return spoil


def every(**fields: Any) -> Spoil:
    return lambda raw: [status.update(fields) for status in raw["etcd"]["statuses"].values()]


def learner(node: str) -> Spoil:
    def spoil(raw: Raw) -> None:
        raw["etcd"]["statuses"][node]["learner"] = True
        next(row for row in raw["etcd"]["members"] if row["name"] == node)["learner"] = True

    return spoil


def no_leader(raw: Raw) -> None:
    for status in raw["etcd"]["statuses"].values():
        status.update(leader="", linearizable="no leader")


def nothing(raw: Raw) -> None:
    """Leave it healthy."""


def free(node: str, count: int) -> Spoil:
    return lambda raw: host(raw, node)["disk"].update(free=count)


@cases(
    ("size", "in_use", "wanted"),
    [
        (400, 100, True),
        (400, 219, True),
        (400, 220, False),  # not below 55 %
        (200, 100, True),
        (199, 100, False),  # 99 MiB to give back
        (100, 1, False),
        (0, 0, False),
        (100, 120, False),  # a file that is being grown
    ],
)
def test_a_member_is_worth_it_below_both_thresholds(size: int, in_use: int, *, wanted: bool) -> None:
    snapshot = spoiled(member("cp2", db_size=size * MIB, db_in_use=in_use * MIB))
    found = {each.node: each for each in candidates(snapshot, Thresholds())}
    assert found["cp2"].wanted is wanted
    assert not found["cp1"].wanted
    assert found["cp2"].reclaimable == max(0, size - in_use) * MIB
    forced = candidates(snapshot, Thresholds(), force=True)
    assert [each.node for each in forced if each.wanted] == ["cp2", "cp3", LEADER]


def test_thresholds_are_the_users() -> None:
    snapshot = spoiled(every(db_size=10 * MIB, db_in_use=9 * MIB))
    assert not any(each.wanted for each in candidates(snapshot, Thresholds()))
    assert all(each.wanted for each in candidates(snapshot, Thresholds(0.95, 1)))


def test_a_silent_member_is_never_taken_for_one_that_is_fine() -> None:
    snapshot = spoiled(silence("cp2"))
    found = next(each for each in candidates(snapshot, Thresholds()) if each.node == "cp2")
    assert found.wanted
    assert "could not be asked" in found.reason


def test_a_node_that_is_not_there_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="'cp9' is no control-plane node"):
        candidates(spoiled(), Thresholds(), only=("cp1", "cp9"))
    assert [each.node for each in candidates(spoiled(), Thresholds(), only=("cp3", "cp1"))] == ["cp3", "cp1"]


def test_the_leader_comes_last_and_learners_first() -> None:
    assert order(spoiled(), NAMES) == ("cp2", "cp3", "cp1")
    assert order(spoiled(learner("cp3")), NAMES) == ("cp3", "cp2", "cp1")
    leads = spoiled(every(leader="e9bcfde03a64e34e"))  # cp2
    assert order(leads, NAMES) == ("cp1", "cp3", "cp2")
    assert order(leads, ("cp2",)) == ("cp2",)


def test_the_copy_needs_room_on_the_disk() -> None:
    needed = room_needed(MemberStatus(db_in_use=1000 * MIB))
    assert 1000 * MIB < needed < 1500 * MIB
    big = member("cp2", db_size=2000 * MIB, db_in_use=1000 * MIB)
    assert room(spoiled(big, free("cp2", needed)), "cp2").level == "ok"
    assert room(spoiled(big, free("cp2", needed - 1)), "cp2").level == "fail"
    assert room(spoiled(big, lambda raw: host(raw, "cp2").update(disk=None)), "cp2").level == "unknown"
    assert room(spoiled(silence("cp2")), "cp2").level == "unknown"


def test_nothing_stands_against_a_healthy_cluster() -> None:
    for node in NAMES:
        for nospace in (False, True):
            assert obstacles(spoiled(), node, nospace=nospace) == ()
            assert setbacks(spoiled(), node, nospace=nospace) == ()


@cases("nospace", [False, True])
@cases(
    ("spoil", "check"),
    [
        (silence("cp3"), "etcd.members"),
        (member("cp3", error="stopped"), "etcd.members"),
        (learner("cp3"), "gate.floor"),  # of two voters none may stand still
        (member("cp3", hash=7), "etcd.hash"),
        (member("cp3", alarms=["CORRUPT"]), "etcd.alarms"),
        (member("cp3", applied=10), "etcd.lag"),
        (no_leader, "gate.floor"),
        (free("cp2", 1), "upkeep.room"),
    ],
)
def test_a_member_stays_up_while_the_rest_cannot_carry_the_cluster(spoil: Spoil, check: str, *, nospace: bool) -> None:
    found = obstacles(spoiled(spoil), "cp2", nospace=nospace)
    assert check in {finding.check for finding in found}
    assert all(finding.blocks for finding in found)


def test_with_nospace_only_etcd_counts_and_that_alarm_is_no_obstacle() -> None:
    sick = (
        every(alarms=["NOSPACE"]),
        lambda raw: [host(raw, node)["probes"].clear() for node in NAMES],
        lambda raw: [host(raw, node)["leases"].clear() for node in NAMES],
    )
    snapshot = spoiled(*sick)
    assert obstacles(snapshot, "cp2")
    assert obstacles(snapshot, "cp2", nospace=True) == ()
    assert setbacks(snapshot, "cp2")
    assert setbacks(snapshot, "cp2", nospace=True) == ()


def test_a_member_is_back_when_it_has_caught_up() -> None:
    for nospace in (False, True):
        found = setbacks(spoiled(member("cp2", applied=10)), "cp2", nospace=nospace)
        assert [finding.check for finding in found] == ["etcd.lag"]
        assert setbacks(spoiled(silence("cp2")), "cp2", nospace=nospace)


def test_who_is_full_still() -> None:
    quota = 64 * MIB
    assert full(spoiled(every(quota=quota))) == ()
    assert full(spoiled(every(quota=quota), member("cp3", db_size=quota * 95 // 100 + 1))) == ("cp3",)
    assert full(spoiled(every(quota=0, db_size=9 << 30))) == NAMES  # before etcd 3.6: the inventory's


@cases(
    ("spoil", "node", "kind", "told"),
    [
        (learner("cp2"), "cp2", Refused, "it is a learner"),
        (silence("cp2"), "cp2", Unreachable, "could not be asked"),
        (member("cp2", applied=10), "cp2", Refused, "log entries behind"),
        (member("cp2", linearizable="it failed"), "cp2", Refused, "it cannot serve now"),
        (lambda raw: raw["etcd"]["members"].pop(1), "cp2", Refused, "no member of the etcd cluster"),
        (no_leader, "cp2", Refused, "no member leads"),
        (nothing, "cp9", UsageError, "'cp9' is no control-plane node"),
        (nothing, "lb1", UsageError, "'lb1' is no control-plane node"),
    ],
)
def test_who_may_not_lead(spoil: Spoil, node: str, kind: type[CpkitError], told: str) -> None:
    with pytest.raises(kind, match=told):
        refuse_as_leader(spoiled(spoil), node)


def test_who_may_lead() -> None:
    for node in NAMES:
        refuse_as_leader(spoiled(), node)


def test_leadership_goes_to_the_most_caught_up_voter() -> None:
    assert successor(spoiled(member("cp2", applied=3080), member("cp3", applied=3090)), "cp1") == "cp3"
    assert successor(spoiled(learner("cp3"), member("cp2", applied=3080)), "cp1") == "cp2"
    assert successor(spoiled(silence("cp2"), member("cp3", applied=10)), "cp1") == ""
    assert successor(spoiled(), "cp2") in {"cp1", "cp3"}


@cases(
    ("revision", "keep", "compacted", "expected"),
    [
        (None, 0, -1, 1993),
        (None, 100, -1, 1893),
        (None, 100, 1893, 0),
        (None, 5000, -1, 0),
        (1500, 0, -1, 1500),
        (1500, 0, 1600, 0),
        (1993, 0, 1600, 1993),
    ],
)
def test_what_is_compacted(revision: int | None, keep: int, compacted: int, expected: int) -> None:
    snapshot = spoiled(every(revision=1993, compacted=compacted))
    assert compaction(snapshot, revision=revision, keep=keep) == expected


def test_the_future_cannot_be_compacted() -> None:
    with pytest.raises(UsageError, match="revision 2000 is yet to come: the newest one is 1993"):
        compaction(spoiled(every(revision=1993)), revision=2000, keep=0)
