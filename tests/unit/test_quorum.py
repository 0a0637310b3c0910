"""The invariants of quorum, each a sentence, each shown on every state of three and of five members."""

from dataclasses import replace
from functools import cache
from itertools import combinations, product

import pytest

from cpkit.health.quorum import Member, Membership, State, join
from tests.unit.cases import cases

NAMES = ("cp1", "cp2", "cp3", "cp4", "cp5", "cp6", "cp7")


member_of = cache(Member)


def voters(*states: State, leader: str = "") -> Membership:
    return Membership(tuple(map(member_of, NAMES, states)), leader)


@cache
def every(size: int) -> tuple[Membership, ...]:
    """Every combination of member states."""
    return tuple(voters(*states) for states in product(State, repeat=size))


def with_state(membership: Membership, name: str, state: State) -> Membership:
    members = tuple(member_of(name, state) if member.name == name else member for member in membership.members)
    return Membership(members, membership.leader)


def silenced(membership: Membership, names: tuple[str, ...]) -> Membership:
    for name in names:
        membership = with_state(membership, name, State.SILENT)
    return membership


both_sizes = pytest.mark.parametrize("size", [3, 5])


@both_sizes
def test_any_two_quorums_share_a_voter(size: int) -> None:
    for membership in every(size):
        voters = [member.name for member in membership.voters]
        assert 2 * membership.quorum > len(voters)
        assert 2 * (membership.quorum - 1) <= len(voters)


@both_sizes
def test_stopping_a_member_that_may_be_stopped_leaves_a_quorum(size: int) -> None:
    for membership in every(size):
        for member in membership.voters:
            after = silenced(membership, (member.name,))
            assert membership.may_stop(member.name) == after.has_quorum


@both_sizes
def test_a_learner_may_be_stopped_exactly_when_the_voters_have_quorum(size: int) -> None:
    for membership in every(size):
        for member in membership.members:
            if member.state is State.LEARNER:
                assert membership.may_stop(member.name) == membership.has_quorum


@both_sizes
def test_as_many_as_the_fault_tolerance_may_fail_and_not_one_more(size: int) -> None:
    for membership in every(size):
        names = [member.name for member in membership.healthy]
        if not membership.has_quorum:
            assert membership.fault_tolerance == 0
            assert membership.missing > 0
            continue
        assert membership.missing == 0
        spare = membership.fault_tolerance
        assert all(silenced(membership, lost).has_quorum for lost in combinations(names, spare))
        assert not any(silenced(membership, lost).has_quorum for lost in combinations(names, spare + 1))


@both_sizes
def test_without_quorum_nothing_may_be_stopped(size: int) -> None:
    for membership in every(size):
        if not membership.has_quorum:
            assert membership.stoppable == ()


@both_sizes
def test_with_no_tolerance_left_no_healthy_voter_may_be_stopped(size: int) -> None:
    for membership in every(size):
        if membership.fault_tolerance == 0:
            assert not any(membership.may_stop(member.name) for member in membership.healthy)


@both_sizes
def test_silent_and_sick_count_the_same_because_unknown_is_not_healthy(size: int) -> None:
    for membership in every(size):
        for member in membership.members:
            if member.state is State.SICK:
                other = with_state(membership, member.name, State.SILENT)
                assert (other.quorum, other.fault_tolerance) == (membership.quorum, membership.fault_tolerance)
                assert set(other.stoppable) == set(membership.stoppable)


@both_sizes
def test_a_voter_that_gets_well_never_forbids_what_was_allowed(size: int) -> None:
    for membership in every(size):
        for member in membership.voters:
            better = with_state(membership, member.name, State.HEALTHY)
            assert better.fault_tolerance >= membership.fault_tolerance
            # The one that got well may now be the one too many; nobody else becomes unstoppable.
            assert set(membership.stoppable) - set(better.stoppable) <= {member.name}


@both_sizes
def test_adding_a_learner_changes_no_answer(size: int) -> None:
    for membership in every(size):
        more = replace(membership, members=(*membership.members, Member("new", State.LEARNER)))
        assert (more.quorum, more.has_quorum, more.missing) == (
            membership.quorum,
            membership.has_quorum,
            membership.missing,
        )
        assert set(more.stoppable) - {"new"} == set(membership.stoppable)


@both_sizes
def test_who_leads_changes_the_order_only_and_the_leader_is_last(size: int) -> None:
    for membership, leader in product(every(size), NAMES[:size]):
        led = replace(membership, leader=leader).stoppable
        assert set(led) == set(membership.stoppable)
        if leader in led:
            assert led[-1] == leader


@both_sizes
def test_the_words_say_no_quorum_exactly_when_there_is_none(size: int) -> None:
    for membership in every(size):
        words = membership.words()
        assert words.startswith("no quorum") == (not membership.has_quorum)
        assert ("may be taken down" in words) == membership.has_quorum
        assert all(member.name in words for member in membership.members if member.state in {State.SICK, State.SILENT})


H, S, L = State.HEALTHY, State.SILENT, State.LEARNER


@cases(
    ("membership", "words"),
    [
        (voters(H, H, H, leader="cp1"), "3 voters, 3 healthy: one more may fail; cp2 may be taken down"),
        (voters(H, H, S, leader="cp1"), "3 voters, 2 healthy: no more may fail (cp3 silent); cp3 may be taken down"),
        (voters(H, S, S), "no quorum: 3 voters, 1 healthy, 2 needed (cp2 and cp3 silent)"),
        (voters(H, H, H, H, H, leader="cp3"), "5 voters, 5 healthy: two more may fail; cp1 may be taken down"),
        (voters(H, leader="cp1"), "1 voter, 1 healthy: no more may fail; none may be taken down"),
        (voters(H, H, H, L), "3 voters, 3 healthy: one more may fail; cp4 may be taken down"),
        (voters(H, H, leader="cp1"), "2 voters, 2 healthy: no more may fail; none may be taken down"),
        (voters(*[H] * 7, leader="cp7"), "7 voters, 7 healthy: three more may fail; cp1 may be taken down"),
    ],
)
def test_words(membership: Membership, words: str) -> None:
    assert membership.words() == words


def test_no_members_is_no_quorum() -> None:
    assert not Membership(()).has_quorum


@cases(("count", "quorum", "tolerance"), [(1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 3, 1), (5, 3, 2), (7, 4, 3)])
def test_the_table_of_sizes(count: int, quorum: int, tolerance: int) -> None:
    membership = voters(*[H] * count)
    assert (membership.quorum, membership.fault_tolerance) == (quorum, tolerance)


def test_names_are_listed_as_a_sentence_lists_them() -> None:
    assert [join(NAMES[:n]) for n in range(4)] == ["", "cp1", "cp1 and cp2", "cp1, cp2 and cp3"]
