"""What a run that goes from node to node notes for its timeline: etcd's leaders, and whose turn it is."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.health.members import leader
from cpkit.inventory import Cluster
from cpkit.journal import Run
from cpkit.operations.listener import Watcher

Stepping = Callable[[str], AbstractContextManager[None]]


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
