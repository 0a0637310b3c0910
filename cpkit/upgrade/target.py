"""The versions an upgrade leads to."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cpkit.errors import Refused, Unreachable, UsageError
from cpkit.facts.host import Component
from cpkit.facts.snapshot import Snapshot
from cpkit.inventory.spec import ClusterSpec
from cpkit.versions import Version, version_table

Verb = Literal["Upgrade", "Finalize", "Take back"]
KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True)
class Target:
    """The Kubernetes and the etcd that shall run."""

    kubernetes: Version
    etcd: Version
    emulates: str = ""  # the minor that Kubernetes behaves like until the upgrade is finalized; empty for its own
    verb: Verb = "Upgrade"  # what is done to a node

    @property
    def back(self) -> bool:
        """Whether it is a way back: what was upgraded last goes first."""
        return self.verb == "Take back"

    def of(self, component: str) -> Version:
        """What a component shall run."""
        return self.etcd if component == "etcd" else self.kubernetes

    def emulated_by(self, component: str) -> str:
        """The minor that a component shall emulate."""
        return "" if component == "etcd" else self.emulates

    def variables(self) -> dict[str, str]:
        """As the roles take it."""
        return {
            "cluster_kubernetes_version": str(self.kubernetes),
            "cluster_emulated_version": self.emulates,
            "cluster_etcd_version": str(self.etcd),
        }

    def __str__(self) -> str:
        return f"Kubernetes {acting(str(self.kubernetes), self.emulates)}, etcd {self.etcd}"


def acting(version: str, emulates: str) -> str:
    """A version, and the minor that it behaves like if that is another one."""
    return f"{version} as {emulates}" if emulates else version


def target_of(
    spec: ClusterSpec, snapshot: Snapshot, *, to: str = "", etcd: str = "", rollback_safe: bool = False
) -> Target:
    """What was named, and for the rest the inventory and the table of versions; UsageError for what is not supported.

    An etcd that nobody named is never older than the one that runs: it does not go back by the way. For an upgrade that
    can be taken back it stays what it is.
    """
    kubernetes = version_table().meant(to) if to else spec.kubernetes
    emulates = _emulated(snapshot, kubernetes, rollback_safe=rollback_safe)
    row = version_table().minor(kubernetes)
    runs_now = running(snapshot, "etcd").values()
    if etcd:
        chosen = Version.parse(etcd)
    elif spec.cluster_etcd_version:
        chosen = Version.parse(spec.cluster_etcd_version)
    elif emulates and runs_now:
        chosen = max(runs_now)
    else:
        chosen = max([row.etcd, *runs_now])
    return Target(kubernetes, _above_floor(chosen, kubernetes), emulates)


def final_target(spec: ClusterSpec, snapshot: Snapshot) -> Target:
    """What runs, as its own minor; Refused when there is nothing to finalize, or not all nodes have it yet."""
    versions = {version for name in KUBERNETES for version in running(snapshot, name).values()}
    if not versions or not (emulations(snapshot) or spec.cluster_emulated_version):
        raise Refused(
            "nothing is to be finalized: no component emulates an older minor", hint="See: cpkit upgrade plan"
        )
    if len(versions) > 1:
        named = ", ".join(map(str, sorted(versions)))
        raise Refused(
            f"not all components run one version yet: {named}",
            hint=f"First finish the upgrade: cpkit upgrade rolling --to {max(versions)} --rollback-safe\n"
            "  Or take it back: cpkit upgrade rollback",
        )
    return Target(max(versions), max(running(snapshot, "etcd").values()), verb="Finalize")


def target_before(spec: ClusterSpec, snapshot: Snapshot, *, to: str = "", etcd: str = "") -> Target:
    """The version to go back to: of an upgrade that is not final the minor that is emulated, else the patch before.

    What ran before is what the nodes were upgraded from, as they tell. UsageError when they tell of none that fits.
    """
    now = max((version for name in KUBERNETES for version in running(snapshot, name).values()), default=None)
    if now is None:
        raise Unreachable("which Kubernetes runs is not known", hint="See: cpkit health")
    kubernetes = version_table().meant(to) if to else _kubernetes_before(spec, snapshot, now)
    chosen = Version.parse(etcd) if etcd else _etcd_before(spec, snapshot, now, kubernetes)
    return Target(kubernetes, _above_floor(chosen, kubernetes), verb="Take back")


def _kubernetes_before(spec: ClusterSpec, snapshot: Snapshot, now: Version) -> Version:
    emulated = emulations(snapshot)
    if now < spec.kubernetes and not emulated:
        return now  # all are back; only the inventory does not say so yet
    series = min(emulated, key=_numbers) if emulated else now.series
    seen = (*_before(snapshot, KUBERNETES[0]), *running(snapshot, KUBERNETES[0]).values())
    earlier = [each for each in seen if each.series == series and each < now]
    if not earlier:
        raise UsageError(
            f"no node was upgraded from a Kubernetes {series} older than {now}",
            hint=f"Name the version: cpkit upgrade rollback --to {series}.x",
        )
    return max(earlier)


def _etcd_before(spec: ClusterSpec, snapshot: Snapshot, now: Version, kubernetes: Version) -> Version:
    """What runs, unless the minor that goes with that Kubernetes is older and Kubernetes goes back by a minor, too."""
    goes_with = version_table().minor(kubernetes).etcd
    runs_now = running(snapshot, "etcd").values()
    newest = max(runs_now, default=goes_with)
    going = any(status.downgrade for status in snapshot.etcd.statuses.values())
    if newest.minor <= goes_with.minor or not (going or kubernetes.series != max(now, spec.kubernetes).series):
        return newest
    earlier = [each for each in (*_before(snapshot, "etcd"), *runs_now) if each.series == goes_with.series]
    return max(earlier, default=goes_with)


def running(snapshot: Snapshot, component: str) -> dict[str, Version]:
    """Node -> the version of the process that runs, where it is known."""
    return {name: version for name in snapshot.control_plane if (version := runs(snapshot, name, component))}


def runs(snapshot: Snapshot, node: str, component: str) -> Version | None:
    """The version of a component's process on a node; None when it is not known."""
    found = part(snapshot, node, component)
    return Version.parse(found.running) if found and found.running else None


def part(snapshot: Snapshot, node: str, component: str) -> Component | None:
    """What a node tells of a component; None when it was not asked."""
    host = snapshot.nodes[node].host
    return host.components.get(component) if host else None


def goes_back(snapshot: Snapshot, target: Target) -> bool:
    """Whether etcd goes back by a minor, for which it has a procedure of its own."""
    versions = running(snapshot, "etcd").values()
    return target.back and any(target.etcd.minor < version.minor for version in versions)


def emulations(snapshot: Snapshot) -> frozenset[str]:
    """The minors that processes emulate; an upgrade is final when there is none."""
    parts = (part(snapshot, node, component) for node in snapshot.control_plane for component in KUBERNETES)
    return frozenset(found.emulates for found in parts if found and found.emulates)


def _emulated(snapshot: Snapshot, kubernetes: Version, *, rollback_safe: bool) -> str:
    """An upgrade that is not final stays so while its minor does; a new one emulates the minor that runs."""
    emulated = emulations(snapshot)
    if emulated and any(version.series == kubernetes.series for version in running(snapshot, KUBERNETES[0]).values()):
        return min(emulated, key=_numbers)
    if not rollback_safe:
        return ""
    versions = [version for name in KUBERNETES for version in running(snapshot, name).values()]
    if not versions:
        raise Unreachable("which Kubernetes runs is not known", hint="See: cpkit health")
    lowest = min(versions)
    if (lowest.major, lowest.minor) >= (kubernetes.major, kubernetes.minor):
        raise UsageError(
            f"--rollback-safe is for a new minor, and Kubernetes {lowest} runs already",
            hint="A patch can always be taken back: cpkit upgrade rollback",
        )
    return lowest.series


def _above_floor(etcd: Version, kubernetes: Version) -> Version:
    row = version_table().minor(kubernetes)
    if etcd < row.etcd_floor:
        raise UsageError(
            f"etcd {etcd} is older than {row.etcd_floor}, the oldest supported beside Kubernetes {kubernetes.series}",
            hint=f"Name another one with --etcd, for example {row.etcd}.",
        )
    return etcd


def _before(snapshot: Snapshot, component: str) -> Iterable[Version]:
    """What nodes were upgraded from."""
    parts = (part(snapshot, node, component) for node in snapshot.control_plane)
    return [Version.parse(found.before) for found in parts if found and found.before]


def _numbers(series: str) -> tuple[int, ...]:
    return tuple(map(int, series.split(".")))
