"""Backups that the nodes take by themselves, and the stream between them: whether they come, and in time."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from cpkit.facts.host import Schedule
from cpkit.facts.snapshot import Snapshot
from cpkit.health.check import Verdict, check, commonest, fail, ok, unknown, warn
from cpkit.health.quorum import join

GRACE = 600.0  # seconds after the time and the jitter that a backup may take before it counts as overdue
SILENT = 15.0  # seconds without a word; every 3 one is due, and a store may take its time
SET = "Set it again: cpkit backup schedule"
LIST = "What the store holds: cpkit backup list"
NOBODY = "not known: no control-plane node could be asked"
JOURNAL = "On the node: journalctl -u cpkit-backup"


@check("backup.schedule")
def schedule(snapshot: Snapshot) -> Iterator[Verdict]:
    """If backups are scheduled, every node takes part, and none is overdue."""
    hosts = {name: facts.host for name, facts in snapshot.control_plane.items() if facts.host}
    found = {name: host.backup for name, host in hosts.items() if host.backup}
    for name, host in hosts.items():
        if "backup" in host.missing:
            yield unknown(f"its schedule of backups is not known: {host.missing['backup']}", JOURNAL, node=name)
    if not hosts:
        yield unknown(NOBODY, JOURNAL)
        return
    if not found:
        yield ok("no backups are scheduled")
        return
    lacking = [name for name, host in hosts.items() if not host.backup and "backup" not in host.missing]
    yield from _parts(found, lacking)
    yield _due(found, snapshot.taken)


@check("backup.stream")
def stream(snapshot: Snapshot) -> Iterator[Verdict]:
    """A stream in the store, if there is one, is followed at this moment or was ended on purpose."""
    seen = snapshot.stream
    if seen is None:
        asked = any(facts.host for facts in snapshot.control_plane.values())
        yield ok("no stream is known") if asked else unknown(NOBODY, JOURNAL)
        return
    if seen.error:
        yield warn(f"whether anybody follows etcd into the store is not known: {seen.error}", LIST)
        return
    silence = max(0.0, snapshot.taken - seen.until)
    told = f"to revision {seen.revision}, after {seen.backup}"
    if seen.ended:
        yield ok(f"the stream was ended by {seen.owner} {_ago(seen.until)}, {told}")
    elif silence <= SILENT:
        yield ok(f"{seen.owner} follows etcd into the store {told}, {silence:.0f} s behind")
    else:
        text = f"nobody follows etcd into the store any more: {seen.owner} did, {told}, until {_ago(seen.until)}"
        hint = f"Go on, as long as etcd has the history: cpkit backup stream -i {snapshot.plan.cluster}"
        yield warn(text, hint)


def _parts(found: Mapping[str, Schedule], lacking: list[str]) -> Iterator[Verdict]:
    """What is wrong with single nodes; the others take the backups meanwhile."""
    usual = commonest(each.digest for each in found.values())
    for name in lacking:
        yield warn("takes no part in the schedule of backups", SET, node=name)
    for name, each in found.items():
        if each.timer != "active":
            yield warn(f"its timer of backups is {each.timer or 'not there'}", SET, node=name)
        if each.digest != usual:
            yield warn("has another schedule of backups than the others", SET, node=name)
        if each.outcome == "failed":
            hint = ". ".join(filter(None, (each.hint, JOURNAL)))
            yield warn(f"its last scheduled backup failed {_ago(each.at)}: {each.error}", hint, node=name)


def _due(found: Mapping[str, Schedule], now: float) -> Verdict:
    """Whether the next backup after the last one that any node knows of is still to come."""
    newest = max(found.values(), key=lambda each: each.next)
    due, last = newest.next, newest.record
    told = f"last one {_ago(last.at)}, by {last.node}, {last.size / 1e6:.1f} MB" if last else "none was taken yet"
    late = now - due - newest.jitter - GRACE
    if not due or late <= 0:
        when = f"the next is due {_ago(due)}" if due else "no other is due"
        return ok(f"{join(found)} take backups: {told}; {when}")
    text = f"a scheduled backup is overdue: it was due {_ago(due)}; {told}"
    hint = f"{JOURNAL}; systemctl list-timers cpkit-backup.timer. To have one now: cpkit backup etcd"
    return fail(text, hint) if late > newest.period else warn(text, hint)


def _ago(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
