"""Whether quorum is lost, who holds the most, and whether it could be had back without losing anything."""

from typing import Any

import pytest

from cpkit.errors import Refused, Unreachable
from cpkit.health.loss import describe, loss, refuse_avoidable
from tests.unit.health_snapshots import Raw, Spoil, host, silence, spoiled

NO_QUORUM = {"leader": "", "linearizable": "no leader"}


def down(node: str, *, data: bool = True) -> Spoil:
    """The machine answers, its member does not."""

    def spoil(raw: Raw) -> None:
        raw["etcd"]["statuses"][node] = {"error": "refused"}
        host(raw, node)["etcd_data"] = data
        host(raw, node)["units"]["etcd"].update(state="inactive", sub="dead")

    return spoil


def alone(node: str, **fields: Any) -> Spoil:
    """A member that knows of no leader."""
    return lambda raw: raw["etcd"]["statuses"][node].update(NO_QUORUM | fields)


def test_a_healthy_or_a_degraded_cluster_has_lost_nothing() -> None:
    for spoils in ((), (silence("cp3"),), (down("cp3"),)):
        with pytest.raises(Refused, match="quorum is not lost"):
            loss(spoiled(*spoils))


def test_one_member_that_serves_is_proof_enough_however_many_are_silent() -> None:
    with pytest.raises(Refused, match="quorum is not lost"):
        loss(spoiled(silence("cp2"), silence("cp3")))


def test_when_nobody_answers_nothing_is_known() -> None:
    with pytest.raises(Unreachable, match="nothing is known") as caught:
        loss(spoiled(down("cp1"), silence("cp2"), down("cp3", data=False)))
    assert caught.value.hint == "First start etcd on cp1."


def test_two_of_three_lost() -> None:
    found = loss(spoiled(alone("cp1"), silence("cp2"), silence("cp3")))
    assert [each.node for each in found.survivors] == ["cp1"]
    assert (found.startable, found.missing, found.avoidable) == ((), 1, False)
    refuse_avoidable(found)
    assert "→ cp1  term 4, index 3093" in describe(found)
    assert "1 healthy" not in found.words


def test_a_member_that_only_needs_a_start_is_preferred() -> None:
    found = loss(spoiled(alone("cp1"), silence("cp2"), down("cp3")))
    assert (found.startable, found.avoidable) == (("cp3",), True)
    with pytest.raises(Refused, match="etcd is down on cp3, and its data is there") as caught:
        refuse_avoidable(found)
    assert "--rebuild" in caught.value.hint


def test_members_that_only_do_not_reach_each_other_are_not_rebuilt() -> None:
    found = loss(spoiled(alone("cp1"), alone("cp2"), silence("cp3")))
    assert (found.missing, found.avoidable) == (0, True)
    with pytest.raises(Refused, match="they only do not reach each other"):
        refuse_avoidable(found)


def test_a_member_whose_data_is_gone_is_no_help() -> None:
    found = loss(spoiled(alone("cp1"), down("cp2", data=False), down("cp3", data=False)))
    assert (found.startable, found.avoidable) == ((), False)


@pytest.mark.parametrize(
    ("one", "two", "first"),
    [
        ({"terms": [4, 4], "applied": 10, "revision": 9}, {"terms": [5, 5], "applied": 5, "revision": 5}, "cp2"),
        ({"terms": [4, 4], "applied": 10, "revision": 9}, {"terms": [4, 4], "applied": 5, "revision": 9}, "cp1"),
        ({"terms": [4, 4], "applied": 5, "revision": 9}, {"terms": [4, 4], "applied": 5, "revision": 10}, "cp2"),
        ({"terms": [4, 4], "applied": 5, "revision": 9}, {"terms": [4, 4], "applied": 5, "revision": 9}, "cp1"),
    ],
)
def test_the_survivor_that_has_seen_most_comes_first(one: dict[str, Any], two: dict[str, Any], first: str) -> None:
    found = loss(spoiled(alone("cp1", **one), alone("cp2", **two), silence("cp3")))
    assert found.survivors[0].node == first


def test_a_learner_is_no_survivor() -> None:
    def learner(raw: Raw) -> None:
        raw["etcd"]["statuses"]["cp1"]["learner"] = True
        raw["etcd"]["members"][0]["learner"] = True

    with pytest.raises(Refused, match="only learners answer"):
        loss(spoiled(alone("cp1"), learner, silence("cp2"), silence("cp3")))
