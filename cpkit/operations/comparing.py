"""Compare a backup with another one, or with the cluster as it is now."""

from dataclasses import dataclass

from cpkit.backup import Sidecar, comparison
from cpkit.backup.comparison import Difference
from cpkit.backup.source import choose
from cpkit.etcd import MemberClient
from cpkit.facts.collect import collect
from cpkit.facts.member import open_member
from cpkit.inventory import Cluster
from cpkit.operations.listener import Listener
from cpkit.operations.sandbox import Asked, Steps, restored

CALL = 30.0


@dataclass(frozen=True)
class Compared:
    """What differs, and of what."""

    old: str
    new: str
    by_content: bool  # the two have no history in common, so their values were compared
    differences: tuple[Difference, ...]


def with_backup(old: Asked, new: Asked, listener: Listener) -> Compared:
    """What was added, removed or changed from one backup to another."""
    by_content = old.sidecar.cluster_id != new.sidecar.cluster_id
    stamps = [_of_backup(each, listener, by_content=by_content) for each in (old, new)]
    return Compared(old.sidecar.name, new.sidecar.name, by_content, comparison.compare(*stamps))


def with_cluster(old: Asked, cluster: Cluster, listener: Listener) -> Compared:
    """What was added, removed or changed since a backup was taken; the cluster is only read."""
    steps = Steps(listener)
    with steps.step("Look at the cluster"):
        choice = choose(collect(cluster))
    node = next(node for node in cluster.control_plane if node.name == choice.node)
    with open_member(node, timeout=CALL) as client:
        by_content = not _same_history(old.sidecar, client)
        with steps.step(f"Read the keys of {choice.node}"):
            revision = client.status().revision
            now = comparison.read(client, revision, by_content=by_content)
    before = _of_backup(old, listener, by_content=by_content)
    return Compared(old.sidecar.name, f"{cluster.name} now", by_content, comparison.compare(before, now))


def _same_history(sidecar: Sidecar, client: MemberClient) -> bool:
    """Whether equal revisions mean equal values; a restore begins a history of its own, under another cluster ID."""
    return f"{client.status().cluster_id:x}" == sidecar.cluster_id


def _of_backup(asked: Asked, listener: Listener, *, by_content: bool) -> dict[bytes, bytes | int]:
    with restored(asked, listener) as found, found.steps.step("Read its keys"):
        return comparison.read(found.member.client, found.manifest.revision, by_content=by_content)
