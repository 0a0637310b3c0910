"""What a run that goes from node to node has to do with etcd's leader, and with whose turn it is."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, settle
from cpkit.health.members import leader
from cpkit.health.upkeep import successor
from cpkit.inventory import Cluster
from cpkit.journal import Run
from cpkit.operations.authorities import unknown
from cpkit.operations.etcd import hand_over
from cpkit.operations.listener import Watcher
from cpkit.operations.members import over_ssh
from cpkit.rolling import GATE

Stepping = Callable[[str], AbstractContextManager[None]]


def look_at_all(cluster: Cluster) -> Snapshot:
    """A snapshot in which every node told what it holds, or the last of those that were taken in a while."""
    seen: list[Snapshot] = []

    def silent(snapshot: Snapshot) -> tuple[Finding, ...]:
        seen[:] = [snapshot]
        return tuple(Finding("node.reachable", name, "unknown", why) for name, why in unknown(snapshot).items())

    settle(lambda: collect(cluster), silent, deadline=GATE)
    return seen[0]


def looking(cluster: Cluster, run: Run) -> Callable[[], Snapshot]:
    """A look at the cluster that journals etcd's leader whenever it is another one, or chosen anew."""
    last: tuple[str, int] | None = None

    def look() -> Snapshot:
        nonlocal last
        snapshot = collect(cluster)
        seen = (leader(snapshot), term(snapshot))
        if seen != last and seen[0]:
            run.write("leader", node=seen[0], term=seen[1])
            last = seen
        return snapshot

    return look


def stepping_down(cluster: Cluster, run: Run, step: Stepping) -> Callable[[Snapshot, str], None]:
    """How leadership leaves a node whose member is to stop, as a step of the run; it stays where nobody may take it."""

    def step_down(snapshot: Snapshot, node: str) -> None:
        to = successor(snapshot, node)
        if not to:
            return
        with step(f"Hand etcd's leadership from {node} to {to}"):
            moved = hand_over(over_ssh(cluster), snapshot, to)
            run.write("handover", node=to, seconds=round(moved.seconds, 3), held=moved.held)

    return step_down


def term(snapshot: Snapshot) -> int:
    """The newest raft term that any member knows; each is a leader that was chosen anew."""
    return max((term for status in snapshot.etcd.statuses.values() for term in status.terms), default=0)


def ending_turns(watcher: Watcher, step: Stepping) -> Stepping:
    """Steps after which no node is away on purpose any longer."""

    @contextmanager
    def ended(name: str) -> Iterator[None]:
        try:
            with step(name):
                yield
        finally:
            watcher.touching("")

    return ended
