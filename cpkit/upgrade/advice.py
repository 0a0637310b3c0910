"""What an upgrade does not fail for, and its user should know before; pure."""

from collections.abc import Iterator, Mapping
from statistics import median

from cpkit.facts.snapshot import Snapshot
from cpkit.upgrade.outside import Outside
from cpkit.upgrade.plan import Round
from cpkit.upgrade.target import Target

OLD_BACKUP = 24.0  # hours


def advice(snapshot: Snapshot, target: Target, outside: Outside) -> Iterator[str]:
    """A line for each thing to look at."""
    for each in outside.requested:
        if each.removed and not _later(each.removed, target):
            yield f"somebody asks for {each.name}, which {each.removed} does not have any more"
    for hook in outside.hooks:
        if not hook.everything:
            yield f"the webhook {hook.name} refuses what it cannot judge, and nobody serves {hook.service}"
    for definition in outside.stored:
        yield f"the CRD {definition} names stored versions that it does not define: its objects may be unreadable"
    for node, facts in snapshot.control_plane.items():
        disk, status = facts.host.disk if facts.host else None, snapshot.etcd.statuses.get(node)
        if disk and status and disk.free < status.db_size:
            yield f"{node} has less room under {disk.path} than etcd's database is large"


def backup_age(hours: float | None) -> str:
    """What is to be said of the newest backup; nothing when it is of today."""
    if hours is None:
        return "there is no backup in the store yet"
    if hours < OLD_BACKUP:
        return ""
    return (
        f"the newest backup is {hours / 24:.0f} days old" if hours >= 48 else f"the newest backup is {hours:.0f} h old"
    )


def expected(rounds: tuple[Round, ...], turns: Mapping[str, list[float]]) -> float:
    """Seconds a plan should take, by what each turn of earlier runs took; 0 when one of them was never made."""
    if any(not turns.get(each.name) for each in rounds):
        return 0.0
    return sum(median(turns[each.name]) * len(each.nodes) for each in rounds)


def _later(removed: str, target: Target) -> bool:
    major, _, minor = removed.partition(".")
    return (int(major), int(minor or 0)) > (target.kubernetes.major, target.kubernetes.minor)


def lasting(seconds: float) -> str:
    """A time that is expected, no more exact than it is known: `20 s`, `3 min`."""
    return f"{max(10, round(seconds, -1)):.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
