"""What is asked of etcd by name: hand leadership over, compact, take alarms back."""

from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING

from cpkit.errors import CpkitError, Refused, Unreachable
from cpkit.etcd import Alarm, EtcdError, EtcdRefused
from cpkit.facts.snapshot import MemberStatus, Snapshot
from cpkit.health import judge
from cpkit.health.members import leader, membership
from cpkit.health.upkeep import compaction, full, refuse_as_leader
from cpkit.operations.members import Members

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpkit.etcd import MemberClient

HANDOVER = 5.0  # seconds until everybody knows a new leader
REST, LOOK = 0.3, 0.02  # seconds until the log rests, and between two looks
COMPACT_SECONDS = 600.0  # for one member to forget a long history


@dataclass(frozen=True)
class Handover:
    """Who led, and who leads."""

    before: str
    after: str
    seconds: float
    held: tuple[str, ...] = ()  # whose API servers waited meanwhile


@dataclass(frozen=True)
class Raised:
    """An alarm, and the node that raised it; the member's ID if that is no node of the inventory."""

    node: str
    kind: str
    member_id: int


@dataclass(frozen=True)
class Compaction:
    """The revision the history begins at; 0 when it began there already. Members that did not answer follow later."""

    revision: int
    members: tuple[str, ...]
    seconds: float


def move_leader(members: Members, to: str) -> Handover:
    """Hand leadership to a voter that has caught up; nothing is done when it leads already."""
    snapshot = members.look()
    refuse_as_leader(snapshot, to)
    return hand_over(members, snapshot, to)


def hand_over(members: Members, snapshot: Snapshot, to: str) -> Handover:
    """Hand leadership to a member while no API server asks for a write, and wait until everybody knows it leads."""
    before = leader(snapshot)
    if before == to:
        return Handover(before, to, 0.0)
    target = int(snapshot.etcd.statuses[to].id, 16)
    answering = {name for name, status in snapshot.etcd.statuses.items() if not status.error}
    with ExitStack() as stack:
        clients = {name: stack.enter_context(members.open(name)) for name in sorted(answering | {before, to})}
        for client in clients.values():
            client.status()  # connects, which takes longer than anything that follows
        with members.hold() as held:
            began = monotonic()
            _await_rest(clients[before])
            clients[before].move_leader(target)
            _await_leader(clients, target, to)
            seconds = monotonic() - began
    return Handover(before, to, seconds, held)


def _await_rest(client: "MemberClient") -> None:
    """Wait until what was under way is written: two looks at the log that see the same; not longer than REST."""
    ends, last = monotonic() + REST, -1
    while (index := client.status().raft_index) != last and monotonic() < ends:
        last = index
        sleep(LOOK)


def _await_leader(clients: "Mapping[str, MemberClient]", target: int, to: str) -> None:
    ends = monotonic() + HANDOVER
    while any(client.status().leader != target for client in clients.values()):
        if monotonic() > ends:
            raise CpkitError(f"it was handed leadership, but does not lead after {HANDOVER:.0f} s", node=to)
        sleep(LOOK)


def compact(members: Members, *, revision: int | None = None, keep: int = 0) -> Compaction:
    """Forget the history before a revision, and wait until every member that answers has let go of it."""
    snapshot = members.look()
    refuse_without_quorum(snapshot)
    at = compaction(snapshot, revision=revision, keep=keep)
    return compact_at(members, snapshot, at) if at else Compaction(0, (), 0.0)


def compact_at(members: Members, snapshot: Snapshot, revision: int) -> Compaction:
    """Compact at a revision.

    The call waits for the member it is sent to alone. Sent to the others as well it is refused, for it is done
    already, but not before that member has finished, too.
    """
    began = monotonic()
    asked = tuple(name for name, status in snapshot.etcd.statuses.items() if not status.error)
    for name in asked:
        with members.open(name) as client:
            try:
                client.compact(revision, physical=True, timeout=COMPACT_SECONDS)
            except EtcdRefused as error:
                if "compacted" not in error.message:
                    raise
    return Compaction(revision, asked, monotonic() - began)


def alarms(members: Members, snapshot: Snapshot) -> tuple[Raised, ...]:
    """The alarms as the cluster lists them; without quorum, those that members tell of themselves."""
    ids = {status.id: name for name, status in snapshot.etcd.statuses.items() if status.id}
    for name in _serving(snapshot):
        try:
            with members.open(name) as client:
                listed = client.alarms()
        except EtcdError:
            continue
        return tuple(Raised(ids.get(f"{a.member_id:x}", f"{a.member_id:x}"), a.kind, a.member_id) for a in listed)
    told = ((name, status) for name, status in snapshot.etcd.statuses.items() if status.alarms)
    return tuple(Raised(name, kind, int(status.id, 16)) for name, status in told for kind in status.alarms)


def disarm(members: Members) -> tuple[Raised, ...]:
    """Take back every alarm whose reason is gone; Refused, with nothing taken back, while one's is not."""
    snapshot = members.look()
    refuse_without_quorum(snapshot)
    raised = alarms(members, snapshot)
    _refuse_reasons(snapshot, raised)
    for name in _serving(snapshot)[:1]:
        with members.open(name) as client:
            for alarm in raised:
                client.disarm(Alarm(alarm.member_id, alarm.kind))
    return raised


def refuse_without_quorum(snapshot: Snapshot) -> None:
    """Raise unless etcd can agree on anything now."""
    if membership(snapshot).has_quorum or _serving(snapshot):
        return
    asked = any(not status.error for status in snapshot.etcd.statuses.values())
    kind = Refused if asked else Unreachable
    raise kind(membership(snapshot).words(), hint="Without a majority etcd changes nothing. See: cpkit health")


def _refuse_reasons(snapshot: Snapshot, raised: tuple[Raised, ...]) -> None:
    kinds = {alarm.kind for alarm in raised}
    if "NOSPACE" in kinds and (names := full(snapshot)):
        raise Refused(
            "the database has all but reached its quota, so the alarm would soon be back",
            node=names[0],
            hint="Make room and take the alarm back in one go: cpkit etcd recover-space",
        )
    different = [finding for finding in judge(snapshot, ("etcd.hash",)) if finding.blocks]
    if "CORRUPT" in kinds and different:
        raise Refused(different[0].text, node=different[0].node, hint=different[0].hint)


def _serving(snapshot: Snapshot) -> tuple[str, ...]:
    """The members a read through the leader succeeded at."""

    def serves(status: MemberStatus) -> bool:
        return not status.error and not status.linearizable

    return tuple(name for name, status in snapshot.etcd.statuses.items() if serves(status))
