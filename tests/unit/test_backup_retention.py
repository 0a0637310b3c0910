from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from cpkit.backup.manifest import Sidecar, Verification
from cpkit.backup.naming import Name, parse
from cpkit.backup.retention import Policy, decide, newest_first
from tests.unit.sidecars import sidecar

NOON = datetime(2031, 3, 15, 12, tzinfo=UTC)


def backup(days: float, *, revision: int = 0, verified: bool = False, cluster_id: str = "a", name: str = "") -> Sidecar:
    created, revision = NOON - timedelta(days=days), revision or int(100_000 - days * 100)
    proofs = (Verification(created, "read", "somebody"),) if verified else ()
    named = {"name": name} if name else {}
    return sidecar(created, revision, cluster_id=cluster_id, verified=proofs, **named)


def kept(backups: list[Sidecar], policy: Policy) -> list[float]:
    """How old, in days, what stays is."""
    found = decide(backups, policy)
    return [(NOON - each.sidecar.created) / timedelta(days=1) for each in found if each.kept]


def test_the_last_ones_stay() -> None:
    assert kept([backup(day, verified=True) for day in range(10)], Policy(last=3)) == [0, 1, 2]


def test_the_newest_of_each_day_stays() -> None:
    every_six_hours = [backup(quarter / 4, verified=True) for quarter in range(40)]
    assert kept(every_six_hours, Policy(daily=3)) == [0, 0.75, 1.75]  # at noon, and the last before each midnight


def test_days_without_a_backup_do_not_count() -> None:
    assert kept([backup(day, verified=True) for day in (0, 7, 30)], Policy(daily=3)) == [0, 7, 30]


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    every_day = [backup(day, verified=True) for day in range(90)]  # the newest is a Saturday's
    assert kept(every_day, Policy(weekly=3)) == [0, 6, 13]
    assert kept(every_day, Policy(monthly=3)) == [0, 15, 43]


def test_the_last_verified_one_never_goes() -> None:
    backups = [backup(0), backup(1), backup(2, verified=True), backup(3, verified=True)]
    found = decide(backups, Policy(last=1))
    assert [each.reasons for each in found] == [("last",), (), ("last verified",), ()]


def test_without_any_verified_one_the_newest_never_goes() -> None:
    assert kept([backup(0), backup(1)], Policy()) == [0]


def test_a_clock_that_ran_ahead_or_behind_does_not_hide_the_newest() -> None:
    ahead = backup(-300, revision=50, verified=True)
    newest = backup(0, revision=100, verified=True)
    behind = backup(9000, revision=101, verified=True)
    assert newest_first([ahead, newest, behind]) == (behind, newest, ahead)
    assert [each.sidecar for each in decide([ahead, newest, behind], Policy(last=1)) if each.kept] == [behind]


def test_a_cluster_that_was_made_anew_is_newer_whatever_its_revision() -> None:
    before, after = backup(1, revision=10**9, cluster_id="z"), backup(0, revision=5, cluster_id="b")
    assert newest_first([before, after]) == (after, before)


backups = st.lists(
    st.tuples(
        st.integers(-100, 20_000),
        st.integers(1, 30),
        st.booleans(),
        st.sampled_from("ab"),
    ),
    max_size=30,
).map(
    lambda rows: [
        backup(hours / 24, revision=revision, verified=verified, cluster_id=cluster, name=f"backup {number}")
        for number, (hours, revision, verified, cluster) in enumerate(rows)
    ]
)
policies = st.builds(Policy, st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))


@settings(max_examples=40)
@given(backups, policies)
def test_whatever_the_rules_enough_stays(every: list[Sidecar], policy: Policy) -> None:
    found = decide(every, policy)
    ordered = newest_first(every)
    assert [each.sidecar for each in found] == list(ordered)
    stays = [each.sidecar for each in found if each.kept]
    assert bool(stays) == bool(every)
    assert set(ordered[: policy.last]) <= set(stays)
    verified = [each for each in ordered if each.verified]
    assert (verified or list(ordered))[:1] == [each for each in stays if each in (verified or ordered)[:1]]
    days = {each.created.date() for each in every}
    daily = {each.sidecar.created.date() for each in found if "daily" in each.reasons}
    assert daily == set(sorted(days, reverse=True)[: policy.daily])
    assert len(stays) <= policy.last + policy.daily + policy.weekly + policy.monthly + 1


def by_one_clock(every: list[Sidecar]) -> list[Sidecar]:
    """The same, with revisions that grow as time does."""
    ordered = sorted(every, key=lambda each: each.created)
    return [replace(each, revision=number) for number, each in enumerate(ordered, 1)]


@settings(max_examples=40)
@given(backups.map(by_one_clock), policies)
def test_what_stays_stays_when_it_is_asked_again(every: list[Sidecar], policy: Policy) -> None:
    stays = [each.sidecar for each in decide(every, policy) if each.kept]
    assert [each.sidecar for each in decide(stays, policy) if each.kept] == stays


@settings(max_examples=40)
@given(backups, policies, st.integers(0, 3))
def test_a_wider_rule_never_loses_more(every: list[Sidecar], policy: Policy, more: int) -> None:
    wider = Policy(policy.last + more, policy.daily + more, policy.weekly + more, policy.monthly + more)
    assert {each.sidecar.name for each in decide(every, policy) if each.kept} <= {
        each.sidecar.name for each in decide(every, wider) if each.kept
    }


@settings(max_examples=40)
@given(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
    st.datetimes(datetime(2000, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(1, 2**63),
)
def test_names_are_read_back(cluster: str, created: datetime, revision: int) -> None:
    name = Name(cluster, created.replace(microsecond=0), revision)
    assert parse(str(name)) == parse(f"{name}.cpkit") == parse(f"{name}.json") == name


def test_other_names_are_none() -> None:
    for text in (
        "",
        "prod",
        "prod-20310101T000000Z",
        "prod-20311301T000000Z-r1",
        "x/prod-20310101T000000Z-r1",
        "latest",
    ):
        assert parse(text) is None
