"""The versions an upgrade leads to."""

from dataclasses import dataclass

from cpkit.errors import UsageError
from cpkit.facts.snapshot import Snapshot
from cpkit.inventory.spec import ClusterSpec
from cpkit.versions import Version, version_table


@dataclass(frozen=True)
class Target:
    """The Kubernetes and the etcd that shall run."""

    kubernetes: Version
    etcd: Version

    def of(self, component: str) -> Version:
        """What a component shall run."""
        return self.etcd if component == "etcd" else self.kubernetes

    def variables(self) -> dict[str, str]:
        """As the roles take it."""
        return {"cluster_kubernetes_version": str(self.kubernetes), "cluster_etcd_version": str(self.etcd)}

    def __str__(self) -> str:
        return f"Kubernetes {self.kubernetes}, etcd {self.etcd}"


def target_of(spec: ClusterSpec, snapshot: Snapshot, *, to: str = "", etcd: str = "") -> Target:
    """What was named, and for the rest the inventory and the table of versions; UsageError for what is not supported.

    An etcd that nobody named is never older than the one that runs: it does not go back by the way.
    """
    kubernetes = _kubernetes(to) if to else spec.kubernetes
    row = version_table().minor(kubernetes)
    if etcd:
        chosen = Version.parse(etcd)
    elif spec.cluster_etcd_version:
        chosen = Version.parse(spec.cluster_etcd_version)
    else:
        chosen = max([row.etcd, *running(snapshot, "etcd").values()])
    if chosen < row.etcd_floor:
        raise UsageError(
            f"etcd {chosen} is older than {row.etcd_floor}, the oldest supported beside Kubernetes {kubernetes.series}",
            hint=f"Name another one with --etcd, for example {row.etcd}.",
        )
    return Target(kubernetes, chosen)


def running(snapshot: Snapshot, component: str) -> dict[str, Version]:
    """Node -> the version of the process that runs, where it is known."""
    return {name: version for name in snapshot.control_plane if (version := runs(snapshot, name, component))}


def runs(snapshot: Snapshot, node: str, component: str) -> Version | None:
    """The version of a component's process on a node; None when it is not known."""
    host = snapshot.nodes[node].host
    found = host.components.get(component) if host else None
    return Version.parse(found.running) if found and found.running else None


def _kubernetes(text: str) -> Version:
    """A version, or a minor alone, which stands for its patch in the table."""
    table = version_table()
    if text.removeprefix("v") in table.minors:
        return table.minors[text.removeprefix("v")].kubernetes
    if text.removeprefix("v").count(".") == 1:
        raise UsageError(f"Kubernetes {text} is not supported", hint=f"Supported minors: {', '.join(table.minors)}.")
    version = Version.parse(text)
    table.minor(version)
    return version
