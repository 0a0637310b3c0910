"""etcd's upkeep: whom to defragment and in which order, who may lead, what may be compacted; pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from cpkit.errors import Refused, Unreachable, UsageError
from cpkit.facts.snapshot import MemberStatus, Snapshot
from cpkit.health.check import ETCD_HINT, judge
from cpkit.health.finding import Finding
from cpkit.health.gate import after, before
from cpkit.health.members import CATCH_UP, leader, membership
from cpkit.health.quorum import State, join
from cpkit.health.storage import FULL

MIB = 1 << 20
SLACK, SPARE = 1.25, 32 * MIB  # a copy's pages are not as full as they could be, and it grows in steps
ETCD_CHECKS = ("etcd.quorum", "etcd.members", "etcd.leader", "etcd.lag", "etcd.hash", "etcd.alarms")


@dataclass(frozen=True)
class Thresholds:
    """From when on a defragmentation pays; both must be met."""

    in_use: float = 0.55  # at most this part of the file is in use
    reclaimable: int = 100 * MIB  # at least so many bytes are given back


@dataclass(frozen=True)
class Candidate:
    """A member, what a defragmentation would give back, and whether that is worth it."""

    node: str
    size: int
    in_use: int
    wanted: bool
    reason: str

    @property
    def reclaimable(self) -> int:
        """Bytes that a defragmentation gives back."""
        return max(0, self.size - self.in_use)


def candidates(
    snapshot: Snapshot, thresholds: Thresholds, *, force: bool = False, only: tuple[str, ...] = ()
) -> tuple[Candidate, ...]:
    """Every member of the inventory in the order it would be defragmented; UsageError for a node there is not."""
    strangers = [name for name in only if name not in snapshot.plan.control_plane]
    if strangers:
        known = join(snapshot.plan.control_plane)
        raise UsageError(f"{strangers[0]!r} is no control-plane node", hint=f"There are {known}.")
    names = only or tuple(snapshot.plan.control_plane)
    return tuple(_candidate(snapshot, name, thresholds, force=force) for name in order(snapshot, names))


def order(snapshot: Snapshot, names: tuple[str, ...]) -> tuple[str, ...]:
    """One after the other: learners first, the leader last."""
    leads = leader(snapshot)
    statuses = snapshot.etcd.statuses

    def rank(name: str) -> tuple[bool, bool, str]:
        return name == leads, not statuses.get(name, MemberStatus()).learner, name

    return tuple(sorted(names, key=rank))


def _candidate(snapshot: Snapshot, name: str, thresholds: Thresholds, *, force: bool) -> Candidate:
    status = snapshot.etcd.statuses.get(name, MemberStatus(error="not asked"))
    if status.error:
        # It stays wanted: what could not be asked is not known to be well, and the gate will say so.
        return Candidate(name, 0, 0, wanted=True, reason=f"could not be asked: {status.error}")
    size, in_use = status.db_size, status.db_in_use
    part, free = (in_use / size if size else 1.0), max(0, size - in_use)
    told = f"{part:.0%} in use, {free / MIB:.1f} MiB to give back"
    if force:
        return Candidate(name, size, in_use, wanted=True, reason=told)
    worth = part < thresholds.in_use and free >= thresholds.reclaimable
    return Candidate(name, size, in_use, wanted=worth, reason=told if worth else f"{told}: not worth it")


def room_needed(status: MemberStatus) -> int:
    """Bytes a defragmentation needs on the disk: it writes a copy of all that is in use before it drops the old."""
    return int(status.db_in_use * SLACK) + SPARE


def room(snapshot: Snapshot, node: str) -> Finding:
    """Whether the node's disk has room for the copy."""
    status, host = snapshot.etcd.statuses.get(node), snapshot.nodes[node].host
    disk = host.disk if host else None
    if status is None or status.error or disk is None:
        why = (host.missing.get("disk", "") if host else snapshot.nodes[node].error) or "the member does not answer"
        return Finding("upkeep.room", node, "unknown", f"free space is not known: {why}", ETCD_HINT)
    needed = room_needed(status)
    text = f"{disk.free / MIB:.0f} MiB free on the disk of {disk.path}, {needed / MIB:.0f} MiB needed for the copy"
    if disk.free < needed:
        return Finding("upkeep.room", node, "fail", text, f"Make room on the disk of {disk.path} first.")
    return Finding("upkeep.room", node, "ok", text)


def obstacles(snapshot: Snapshot, node: str, *, nospace: bool = False) -> tuple[Finding, ...]:
    """What forbids to have a member stand still now; nothing does if this is empty.

    With an alarm NOSPACE the controllers and whoever else writes are sick, and that is what is being mended: then
    etcd alone is judged, and that alarm is no obstacle. The arithmetic of quorum is never relaxed.
    """
    findings = _nospace_before(snapshot, node) if nospace else before(snapshot, node)
    return tuple(finding for finding in (*findings, room(snapshot, node)) if finding.blocks)


def _nospace_before(snapshot: Snapshot, node: str) -> tuple[Finding, ...]:
    members = membership(snapshot)
    alone = [member.name for member in members.voters] == [node]
    floor: tuple[Finding, ...] = ()
    if not alone and not members.may_stop(node):
        text = f"the members other than {node} form no majority"
        floor = (Finding("gate.floor", node, "fail", text, "Bring the other members back first."),)
    return floor + _but_nospace(finding for finding in judge(snapshot, ETCD_CHECKS) if finding.node != node)


def setbacks(snapshot: Snapshot, node: str, *, nospace: bool = False) -> tuple[Finding, ...]:
    """What says that a member is not back yet."""
    if not nospace:
        return tuple(finding for finding in after(snapshot, node) if finding.blocks)
    found = judge(snapshot, ETCD_CHECKS)
    return tuple(each for each in _but_nospace(found) if each.blocks and each.node in {"", node})


def _but_nospace(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(each for each in findings if not (each.check == "etcd.alarms" and "NOSPACE" in each.text))


def full(snapshot: Snapshot) -> tuple[str, ...]:
    """The members whose database file has reached its quota, or nearly: an alarm taken back would soon be up again."""
    quotas = {name: status.quota or snapshot.plan.quota for name, status in snapshot.etcd.statuses.items()}
    return tuple(name for name, status in snapshot.etcd.statuses.items() if status.db_size >= FULL * quotas[name])


def refuse_as_leader(snapshot: Snapshot, node: str) -> None:
    """Raise unless the member may be handed leadership: a voter that answers and has caught up."""
    if node not in snapshot.plan.control_plane:
        raise UsageError(f"{node!r} is no control-plane node", hint=f"There are {join(snapshot.plan.control_plane)}.")
    members = membership(snapshot)
    if not members.leader:
        raise Refused("no member leads, so there is nothing to hand over", hint="Look closer with: cpkit health")
    status = snapshot.etcd.statuses.get(node, MemberStatus(error="not asked"))
    if status.error:
        raise Unreachable(f"its member could not be asked: {status.error}", hint=ETCD_HINT, node=node)
    state = next((member.state for member in members.members if member.name == node), None)
    if state is None:
        raise Refused("it is no member of the etcd cluster", hint="Look at: cpkit etcd members", node=node)
    if status.learner or state is State.LEARNER:
        raise Refused("it is a learner, and a learner cannot lead", hint="Promote it first.", node=node)
    behind = _behind(snapshot, status)
    if state is not State.HEALTHY or behind > CATCH_UP:
        why = f"it is {behind} log entries behind" if behind > CATCH_UP else "it cannot serve now"
        raise Refused(f"{why}, so it may not lead", hint="Look closer with: cpkit etcd status", node=node)


def successor(snapshot: Snapshot, leaving: str) -> str:
    """Whom leadership goes to best when its holder is to stand still; "" when nobody may take it."""
    healthy = [member.name for member in membership(snapshot).healthy if member.name != leaving]
    statuses = {name: snapshot.etcd.statuses[name] for name in healthy if name in snapshot.etcd.statuses}
    able = [name for name, status in statuses.items() if _behind(snapshot, status) <= CATCH_UP]
    return min(able, key=lambda name: (_behind(snapshot, statuses[name]), name), default="")


def _behind(snapshot: Snapshot, status: MemberStatus) -> int:
    return max(0, max(each.index for each in snapshot.etcd.statuses.values()) - status.applied)


def compaction(snapshot: Snapshot, *, revision: int | None, keep: int) -> int:
    """The revision to compact at: the one named, or all but the last `keep`; 0 when that much is gone already."""
    current = max((status.revision for status in snapshot.etcd.statuses.values()), default=0)
    compacted = max((status.compacted for status in snapshot.etcd.statuses.values()), default=0)
    wanted = current - keep if revision is None else revision
    if wanted > current:
        raise UsageError(f"revision {wanted} is yet to come: the newest one is {current}")
    return wanted if wanted > max(0, compacted) else 0
