"""Members come and go: on every state of one to seven members, no change loses quorum that the arithmetic allows."""

from collections.abc import Iterable
from functools import cache
from itertools import combinations, combinations_with_replacement, product

import pytest

from cpkit.errors import Refused
from cpkit.health.change import MOST, even, having, joining, leaving, replacing, told, without
from cpkit.health.quorum import Member, Membership, State
from tests.unit.test_quorum import NAMES, silenced, voters

H, S, K, L = State.HEALTHY, State.SILENT, State.SICK, State.LEARNER
SIZES = range(1, MOST + 1)
# A sick voter counts as a silent one does (test_quorum), so three states are all there are.
STATES = (H, S, L)
sizes = pytest.mark.parametrize("size", SIZES)


@cache
def every(size: int) -> tuple[Membership, ...]:
    """Every state of so many members."""
    return possible(product(STATES, repeat=size))


def unnamed(size: int) -> tuple[Membership, ...]:
    """The same, but for who bears which name: enough where every choice of names is tried on each."""
    return possible(combinations_with_replacement(STATES, size))


def possible(states: Iterable[tuple[State, ...]]) -> tuple[Membership, ...]:
    """Memberships of these states; etcd allows one learner at most."""
    found = (voters(*each) for each in states if each.count(L) <= 1)
    return tuple(each for each in found if each.voters)


def survives(membership: Membership) -> bool:
    return membership.has_quorum


@sizes
def test_after_each_stage_of_leaving_there_is_a_quorum_and_none_that_is_allowed_is_refused(size: int) -> None:
    for members in every(size):
        for name in NAMES[:size]:
            after = without(members, name)
            may = members.has_quorum and bool(after.voters) and after.has_quorum
            try:
                stages = leaving(members, [name])
            except Refused:
                assert not may, (members, name)
            else:
                assert may, (members, name)
                assert stages[-1].members.members == after.members
                assert all(survives(stage.members) for stage in stages)


@sizes
def test_those_that_leave_together_leave_a_quorum_of_all_members_behind(size: int) -> None:
    for members in unnamed(size):
        for count in range(2, size + 1):
            for names in combinations(NAMES[:size], count):
                try:
                    stages = leaving(members, names)
                except Refused:
                    continue
                going = [member for member in members.voters if member.name in names]
                assert all(survives(stage.members) for stage in stages)
                if len(going) > 1:
                    assert len(members.voters) - len(going) >= members.quorum
                order = [stage.what.removeprefix("without ") for stage in stages[1:]]
                states = {member.name: member.state for member in members.members}
                healthy = [states[name] is H for name in order]
                assert healthy == sorted(healthy), "those that do not serve go first"


@sizes
def test_after_each_stage_of_joining_there_is_a_quorum_even_if_the_new_one_fails_in_a_cluster_that_is_not_whole(
    size: int,
) -> None:
    for members in every(size):
        if len(members.voters) != size:
            continue
        try:
            stages = joining(members, ["new"])
        except Refused:
            degraded = len(members.healthy) < size
            assert not members.has_quorum or size == MOST or (degraded and not having(members, "new", S).has_quorum)
            continue
        assert [len(stage.members.voters) for stage in stages] == [size, size + 1]
        assert all(survives(stage.members) for stage in stages)
        if len(members.healthy) < size:
            assert silenced(stages[-1].members, ("new",)).has_quorum


@sizes
def test_a_replacement_never_passes_through_a_state_without_quorum_and_ends_with_as_many_voters(size: int) -> None:
    for members in every(size):
        for gone in (member for member in members.voters if member.state is S):
            try:
                stages = replacing(members, gone.name)
            except Refused:
                continue
            assert all(survives(stage.members) for stage in stages)
            assert len(stages[-1].members.voters) == len(members.voters)
            assert stages[-1].members.fault_tolerance >= members.fault_tolerance


def test_with_one_of_three_dead_it_is_replaced_and_nobody_is_added() -> None:
    members = voters(H, H, S)
    assert [stage.words for stage in replacing(members, "cp3")] == [
        "3 voters, 2 healthy, quorum 2: no more may fail",
        "2 voters, 2 healthy, quorum 2: no more may fail",
        "3 voters, 3 healthy, quorum 2: one more may fail",
    ]
    with pytest.raises(Refused, match=r"cp3 does not serve.*2 of 4.*3 are needed"):
        joining(members, ["cp4"])
    with pytest.raises(Refused, match=r"without cp1, 1 of 2 voters would be healthy, and 2 are needed"):
        leaving(members, ["cp1"])


def test_two_of_three_never_leave_together_and_two_of_five_do() -> None:
    with pytest.raises(Refused, match=r"2 of 3 voters"):
        leaving(voters(H, H, H), ["cp2", "cp3"])
    assert [stage.what for stage in leaving(voters(H, H, H, H, H, leader="cp4"), ["cp4", "cp5"])] == [
        "now",
        "without cp5",
        "without cp4",
    ]


def test_a_replacement_that_was_cut_off_goes_on_from_wherever_the_member_is() -> None:
    left = voters(H, H)
    assert [stage.what for stage in replacing(left, "cp3")] == ["now", "with cp3"]
    learner = Membership((*left.members, Member("cp3", L)))
    assert [stage.what for stage in joining(learner, ["cp3"])] == ["now", "with cp3"]
    assert [stage.what for stage in joining(voters(H, H, H), ["cp3"])] == ["now"]
    with pytest.raises(Refused, match="one learner at a time"):
        joining(learner, ["cp4"])


def test_the_last_member_does_not_leave_and_an_eighth_does_not_come() -> None:
    with pytest.raises(Refused, match="last member"):
        leaving(voters(H), ["cp1"])
    with pytest.raises(Refused, match="7 members are the most"):
        joining(voters(*[H] * 7), ["cp8"])


def test_even_numbers_are_spoken_of() -> None:
    assert [bool(even(count)) for count in SIZES] == [False, True, False, True, False, True, False]


def test_the_stages_stand_below_one_another() -> None:
    assert told(joining(voters(H), ["cp2", "cp3"])) == [
        "  now       1 voter, 1 healthy, quorum 1: no more may fail",
        "  with cp2  2 voters, 2 healthy, quorum 2: no more may fail",
        "  with cp3  3 voters, 3 healthy, quorum 2: one more may fail",
    ]
