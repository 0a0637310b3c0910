"""Compare every node with the inventory: the roles themselves in check mode, and the leaves by what the nodes show."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cpkit import ansible, artifacts
from cpkit.drift import Change, DriftPlan, Refusal, changes_of, leaf_changes, plan, refuse_fixed, refuse_versions
from cpkit.errors import Refused, Unreachable, UsageError
from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, settle
from cpkit.health.quorum import join
from cpkit.health.standing import standing
from cpkit.inventory import Cluster
from cpkit.journal import owner
from cpkit.operations.accepting import added, unaccepted
from cpkit.operations.leaves import Target, due
from cpkit.operations.listener import Listener
from cpkit.operations.rotation import renewing
from cpkit.pki.leaves import leaf_path
from cpkit.pki.renewal import MISFITS
from cpkit.rolling import todo
from cpkit.upgrade import Target as Versions

AGAIN = 10.0  # seconds for all nodes to answer


@dataclass(frozen=True)
class Look:
    """What was read, what differs, and the leaves that do not fit."""

    snapshot: Snapshot
    plan: DriftPlan
    leaves: Target


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    only: frozenset[str] = frozenset()
    dry_run: bool = False
    allow_degraded: bool = False
    become_password: str = field(default="", repr=False)


def look(cluster: Cluster, options: Options, listener: Listener) -> Look:
    """What differs now, on all nodes; only reads, takes no lock and leaves no run behind."""
    ansible.program()
    with tempfile.TemporaryDirectory(prefix="cpkit-plan-") as folder:
        return compare(cluster, options, listener, Path(folder) / "ansible.log")


def compare(cluster: Cluster, options: Options, listener: Listener, log: Path) -> Look:
    """What differs now. Unreachable unless every node answers: what is not known is not taken for equal."""
    if strange := sorted(options.only - {node.name for node in cluster.nodes}):
        known = join([node.name for node in cluster.nodes])
        raise UsageError(f"{strange[0]!r} is no node of the inventory", hint=f"They are: {known}.")
    snapshot = _look(cluster)
    if standing(snapshot).stage == "new":
        raise Refused("there is no cluster yet, so nothing has drifted", hint="Make it: cpkit bootstrap")
    if refusals := tuple(refuse_versions(snapshot)):
        return Look(snapshot, plan(snapshot, (), refusals, only=options.only), Target({}))
    spec = cluster.spec
    artifacts.ensure(spec.kubernetes, spec.etcd, source=spec.artifacts_source, progress=listener.progress)
    leaves = due(cluster, snapshot, MISFITS)
    changes = _changes(cluster, snapshot, leaves, options, log)
    refusals = (*refuse_fixed(changes, (snapshot.control_plane, snapshot.load_balancers)), *_flags(cluster))
    return Look(snapshot, plan(snapshot, changes, refusals, only=options.only), _chosen(leaves, options))


def refuse(found: DriftPlan) -> None:
    """Raise what forbids a plan."""
    if found.refusals:
        first, more = found.refusals[0], len(found.refusals) - 1
        rest = f" (and {more} more: cpkit plan)" if more else ""
        raise Refused(f"{first.text}{rest}", node=first.node, hint=f"{first.hint}\n  Nothing was changed.")


def _look(cluster: Cluster) -> Snapshot:
    """The cluster, looked at again for a while if a node does not answer: a busy one may be too late once."""
    seen: list[Snapshot] = []

    def read() -> Snapshot:
        seen[:] = [collect(cluster)]
        return seen[0]

    def judged(snapshot: Snapshot) -> tuple[Finding, ...]:
        silent = [facts for facts in snapshot.nodes.values() if facts.host is None]
        return tuple(Finding("node.reachable", facts.name, "unknown", facts.error, facts.hint) for facts in silent)

    for found in settle(read, judged, deadline=AGAIN)[:1]:
        raise Unreachable(f"not known what it has: {found.text}", node=found.node, hint=found.hint)
    return seen[0]


def _changes(cluster: Cluster, snapshot: Snapshot, leaves: Target, options: Options, log: Path) -> tuple[Change, ...]:
    """What the roles would change, and the leaves by name; files of leaves are theirs and not the PKI's."""
    waiting = todo(renewing(leaves), snapshot)
    named = {node: {name: each.why for name, each in leaves.nodes.get(node, {}).items()} for node in waiting}
    compared = changes_of(_events(cluster, options, log))
    return (*leaf_changes(named), *(kept for each in compared if (kept := _besides(each, named.get(each.node, {})))))


def _besides(change: Change, leaves: dict[str, str]) -> Change | None:
    """A change without the files of leaves; None when there is nothing else."""
    stems = {leaf_path(name).removesuffix(".crt") for name in leaves}
    paths = tuple(path for path in change.paths if path.removesuffix(".crt").removesuffix(".key") not in stems)
    if change.component != "PKI" or paths == change.paths:
        return change
    return Change(change.node, change.component, change.action, paths) if paths else None


def _events(cluster: Cluster, options: Options, log: Path) -> list[ansible.Event]:
    events: list[ansible.Event] = []
    play = ansible.Play(
        "site.yml",
        cluster.inventory,
        check=True,
        diff=True,
        variables={"claim_owner": owner()},
        become_password=options.become_password,
    )
    outcome = ansible.run(play, log=log, on_event=events.append)
    if outcome.failures:
        raise ansible.failure(outcome)
    return events


def _flags(cluster: Cluster) -> list[Refusal]:
    """Flags and gates that the very binaries which are to run with them do not take."""
    spec = cluster.spec
    versions = Versions(spec.kubernetes, spec.etcd, spec.cluster_emulated_version)
    bundle = artifacts.cached(spec.kubernetes, spec.etcd)
    if bundle is None or not added(cluster, versions):
        return []
    return [
        Refusal(
            "flags",
            f"{component} {versions.of(component)} does not take the inventory's flags: {why}",
            f"Look at {component.replace('-', '_')}_extra_args"
            + ("." if component == "etcd" else " and cluster_feature_gates."),
        )
        for component, why in unaccepted(cluster, versions, bundle).items()
    ]


def _chosen(leaves: Target, options: Options) -> Target:
    return Target({node: due for node, due in leaves.nodes.items() if not options.only or node in options.only})
