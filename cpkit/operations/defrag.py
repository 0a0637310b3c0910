"""Defragment etcd: one member at a time, the leader last, each only while the rest can carry the cluster."""

from dataclasses import dataclass, field
from time import monotonic

from cpkit.errors import Refused, Unreachable
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, settle
from cpkit.health.members import leader
from cpkit.health.quorum import join
from cpkit.health.upkeep import MIB, Candidate, Thresholds, candidates, obstacles, order, setbacks, successor
from cpkit.operations.etcd import hand_over
from cpkit.operations.listener import Listener
from cpkit.operations.members import Members

BACK = 60.0  # seconds until a member must be back
GATE = 20.0  # seconds to wait for a gate that is closed to open
START, RATE = 30.0, 5 * MIB  # seconds a defragmentation may take: so many, and one for so many bytes


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    force: bool = False
    only: tuple[str, ...] = ()
    dry_run: bool = False
    nospace: bool = False  # while the alarm is raised, see health.upkeep.obstacles


@dataclass(frozen=True)
class Done:
    """A member's database file before and after."""

    node: str
    before: int
    after: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What is to be done, in order, and what stands against it now."""

    candidates: tuple[Candidate, ...]
    obstacles: dict[str, tuple[Finding, ...]]

    @property
    def wanted(self) -> tuple[str, ...]:
        """The members to defragment."""
        return tuple(each.node for each in self.candidates if each.wanted)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that stands against it."""
        return tuple(finding for found in self.obstacles.values() for finding in found)

    def words(self) -> str:
        """The plan, one line a member."""
        width = max((len(each.node) for each in self.candidates), default=0)
        lines = [f"This defragments {join(self.wanted)}, one after the other:" if self.wanted else "Nothing to do:"]
        for each in self.candidates:
            mark = "+" if each.wanted else "="
            lines.append(f"  {mark} {each.node:{width}}  {each.size / MIB:8.1f} MiB  {each.reason}")
            lines += [f"      {finding.level} {finding.text}" for finding in self.obstacles.get(each.node, ())]
        return "\n".join(lines)


def plan(snapshot: Snapshot, options: Options) -> Plan:
    """What a defragmentation would do now."""
    found = candidates(snapshot, options.thresholds, force=options.force, only=options.only)
    against = {each.node: obstacles(snapshot, each.node, nospace=options.nospace) for each in found if each.wanted}
    return Plan(found, {name: findings for name, findings in against.items() if findings})


def defragment(members: Members, planned: Plan, options: Options, listener: Listener) -> tuple[Done, ...]:
    """Carry a plan out; the first member that may not stand still, or does not come back, ends it."""
    todo, done = list(planned.wanted), []
    while todo:
        snapshot = _open_gate(members, todo, options, listener)
        node = order(snapshot, tuple(todo))[0]
        if leader(snapshot) == node:
            _step_down(members, snapshot, node, listener)
        done.append(_one(members, snapshot, node, listener))
        _await_back(members, node, options, listener)
        todo.remove(node)
    return tuple(done)


def _open_gate(members: Members, todo: list[str], options: Options, listener: Listener) -> Snapshot:
    """A snapshot in which the next member may stand still; raises when none comes."""
    seen: list[Snapshot] = []

    def look() -> Snapshot:
        seen.append(members.look())
        return seen[-1]

    def judge(snapshot: Snapshot) -> tuple[Finding, ...]:
        node = order(snapshot, tuple(todo))[0]
        found = obstacles(snapshot, node, nospace=options.nospace)
        listener.status(f"{node}: {found[0].text}" if found else node)
        return found

    found = settle(look, judge, deadline=GATE)
    node = order(seen[-1], tuple(todo))[0]
    _raise(found, node, f"{node} may not stand still now", "Nothing more was changed. Run the same command again.")
    return seen[-1]


def _step_down(members: Members, snapshot: Snapshot, node: str, listener: Listener) -> None:
    to = successor(snapshot, node)
    if to:
        listener.status(f"handing leadership from {node} to {to}")
        moved = hand_over(members, snapshot, to)
        listener.say(f"leadership handed from {moved.before} to {moved.after}")


def _one(members: Members, snapshot: Snapshot, node: str, listener: Listener) -> Done:
    began = monotonic()
    size = snapshot.etcd.statuses[node].db_size
    with members.open(node) as client:
        listener.status(f"{node}: {size / MIB:.1f} MiB")
        client.defragment(timeout=START + size / RATE)
        now = client.status().db_size
    seconds = monotonic() - began
    listener.say(f"{node}: {size / MIB:.1f} MiB before, {now / MIB:.1f} MiB after, {seconds:.1f} s")
    return Done(node, size, now, seconds)


def _await_back(members: Members, node: str, options: Options, listener: Listener) -> None:
    def judge(snapshot: Snapshot) -> tuple[Finding, ...]:
        found = setbacks(snapshot, node, nospace=options.nospace)
        listener.status(f"{node}: waiting: {found[0].text}" if found else node)
        return found

    found = settle(members.look, judge, deadline=BACK)
    _raise(found, node, f"{node} is not back after {BACK:.0f} s", "No other member was touched. See: cpkit health")


def _raise(found: tuple[Finding, ...], node: str, what: str, hint: str) -> None:
    if not found:
        return
    first = next((finding for finding in found if finding.level == "fail"), found[0])
    where = f"{first.node}: " if first.node not in {"", node} else ""
    kind = Refused if any(finding.level == "fail" for finding in found) else Unreachable
    raise kind(f"{what}: {where}{first.text}", hint=f"{first.hint}\n  {hint}" if first.hint else hint)


def refuse_obstacles(planned: Plan) -> None:
    """Raise when something stands against a plan before anything is begun."""
    for node in planned.obstacles:
        _raise(planned.obstacles[node], node, f"{node} may not stand still now", "Nothing was changed.")
