"""Which backups are kept, and which may go."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cpkit.backup.manifest import Sidecar


@dataclass(frozen=True)
class Policy:
    """How many backups are kept: the newest ones, and the newest one of each day, week and month."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    @property
    def keeps_nothing(self) -> bool:
        """Whether no rule would keep anything."""
        return not (self.last or self.daily or self.weekly or self.monthly)


@dataclass(frozen=True)
class Decision:
    """A backup, and every reason to keep it; one without a reason goes."""

    sidecar: Sidecar
    reasons: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)


def newest_first(backups: Iterable[Sidecar]) -> tuple[Sidecar, ...]:
    """By revision, then by time, so that a skewed clock does not hide the newest.

    Revisions compare within one cluster only: of two that bore the same name, the one that was backed up last counts
    as the newer.
    """
    every = list(backups)
    latest: dict[str, datetime] = {}
    for each in every:
        latest[each.cluster_id] = max(each.created, latest.get(each.cluster_id, each.created))

    def key(each: Sidecar) -> tuple[datetime, str, int, datetime]:
        return latest[each.cluster_id], each.cluster_id, each.revision, each.created

    return tuple(sorted(every, key=key, reverse=True))


def decide(backups: Iterable[Sidecar], policy: Policy) -> tuple[Decision, ...]:
    """What becomes of each backup, newest first; the newest that was verified never goes."""
    ordered = newest_first(backups)
    reasons: dict[str, list[str]] = {each.name: [] for each in ordered}
    for each in ordered[: policy.last]:
        reasons[each.name].append("last")
    for rule, count in (("daily", policy.daily), ("weekly", policy.weekly), ("monthly", policy.monthly)):
        for each in _newest_of_each(ordered, PERIODS[rule], count):
            reasons[each.name].append(rule)
    verified = next((each for each in ordered if each.verified), None)
    if verified:
        reasons[verified.name].append("last verified")
    elif ordered:
        reasons[ordered[0].name].append("newest, and none is verified")
    return tuple(Decision(each, tuple(reasons[each.name])) for each in ordered)


def _newest_of_each(ordered: Sequence[Sidecar], period: Callable[[datetime], str], count: int) -> list[Sidecar]:
    """The newest backup of each of the latest periods that have one."""
    found: dict[str, Sidecar] = {}
    for each in ordered:
        found.setdefault(period(each.created.astimezone(UTC)), each)
    return [found[name] for name in sorted(found, reverse=True)[:count]]


PERIODS: Mapping[str, Callable[[datetime], str]] = {
    "daily": lambda at: at.strftime("%Y-%m-%d"),
    "weekly": lambda at: "{}-W{:02}".format(*at.isocalendar()[:2]),
    "monthly": lambda at: at.strftime("%Y-%m"),
}
