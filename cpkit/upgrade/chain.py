"""Several minors as a chain of legal steps; pure."""

from dataclasses import replace

from cpkit.errors import UsageError
from cpkit.facts.host import Component
from cpkit.facts.snapshot import Snapshot
from cpkit.upgrade.target import KUBERNETES, Target, running
from cpkit.versions import Version, version_table


def chain(snapshot: Snapshot, target: Target) -> tuple[Target, ...]:
    """The steps that lead to a target, the target last: every minor in between by the patch that the table names."""
    lowest = min((each for name in KUBERNETES for each in running(snapshot, name).values()), default=None)
    if lowest is None or target.back or lowest.major != target.kubernetes.major:
        return (target,)
    minors = [f"{lowest.major}.{number}" for number in range(lowest.minor + 1, target.kubernetes.minor)]
    table = version_table().minors
    if not minors or any(minor not in table for minor in minors):
        return (target,)
    if target.emulates:
        raise UsageError(
            f"--rollback-safe goes one minor, and {lowest} to {target.kubernetes} are {len(minors) + 1}",
            hint=f"First: cpkit upgrade rolling --to {minors[0]} --rollback-safe, and finalize it.",
        )
    etcd = max(running(snapshot, "etcd").values(), default=table[minors[0]].etcd)
    between = tuple(Target(table[minor].kubernetes, _etcd(table[minor].etcd, etcd, target)) for minor in minors)
    return (*between, target)


def after(snapshot: Snapshot, target: Target) -> Snapshot:
    """The cluster as it will be once it has a target."""

    def reached(component: str, found: Component) -> Component:
        version, emulates = str(target.of(component)), target.emulated_by(component)
        return replace(found, running=version, selected=version, emulates=emulates, would_emulate=emulates)

    nodes = dict(snapshot.nodes)
    for name, facts in snapshot.control_plane.items():
        if facts.host:
            components = {each: reached(each, found) for each, found in facts.host.components.items()}
            nodes[name] = replace(facts, host=replace(facts.host, components=components))
    return replace(snapshot, nodes=nodes)


def _etcd(goes_with: Version, now: Version, target: Target) -> Version:
    """What goes with a minor, no older than what runs and no newer than where the chain ends."""
    return max(now, min(goes_with, target.etcd))
