"""How the members of a cluster are seen, and how each of them is asked."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cpkit.errors import Interrupted, Locked
from cpkit.facts.collect import collect
from cpkit.facts.member import open_member
from cpkit.facts.snapshot import Snapshot
from cpkit.inventory import Cluster
from cpkit.journal import Run, open_run, owner
from cpkit.operations.holding import holding
from cpkit.operations.listener import Listener, stepping
from cpkit.operations.unlock import holders

if TYPE_CHECKING:
    from cpkit.etcd import MemberClient

CALL = 10.0  # seconds for one call to a member


@dataclass(frozen=True)
class Members:
    """A cluster's members."""

    look: Callable[[], Snapshot]
    open: "Callable[[str], AbstractContextManager[MemberClient]]"  # a client of a node's member
    hold: Callable[[], AbstractContextManager[tuple[str, ...]]]  # while it lasts, these API servers ask for nothing


def over_ssh(cluster: Cluster) -> Members:
    """The members of a cluster, each through a tunnel to its own node."""
    nodes = {node.name: node for node in cluster.control_plane}
    return Members(
        look=lambda: collect(cluster),
        open=lambda name: open_member(nodes[name], timeout=CALL),
        hold=lambda: holding(cluster.control_plane),
    )


def refuse_locked(cluster: Cluster) -> None:
    """Raise Locked while somebody else's run holds the cluster's lock on a node."""
    for holder in holders(cluster):
        if holder.owner != owner():
            raise Locked(
                f"the cluster is locked by {holder.owner}",
                node=holder.node,
                hint="Wait until that run is over. If it is dead, take the lock away: cpkit unlock",
            )


@dataclass(frozen=True)
class Change:
    """A change to a cluster's etcd under way."""

    members: Members
    run: Run
    step: Callable[[str], AbstractContextManager[None]]


@contextmanager
def changing(cluster: Cluster, operation: str, listener: Listener) -> Iterator[Change]:
    """Take the lock, and open a run for a change that is made by calls to etcd alone."""
    refuse_locked(cluster)
    with open_run(cluster.name, operation) as run:
        try:
            yield Change(over_ssh(cluster), run, stepping(run, listener))
        except KeyboardInterrupt:
            hint = (
                f"A member finishes what it was asked. Run the same command again to go on.\n  Journal: {run.directory}"
            )
            raise Interrupted("interrupted", hint=hint) from None
