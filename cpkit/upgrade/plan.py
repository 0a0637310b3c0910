"""What an upgrade would do, in which order, and why it may not; pure."""

from collections.abc import Collection
from dataclasses import dataclass

from cpkit.facts.snapshot import Snapshot
from cpkit.rolling import Pass, known, todo
from cpkit.upgrade.passes import STEPS, Step, has, passes
from cpkit.upgrade.refusals import Outside, Refusal, refusals
from cpkit.upgrade.target import Target, runs


@dataclass(frozen=True)
class Change:
    """A component of a node, and whether it has its version already."""

    node: str
    component: str
    running: str  # empty when it is not known
    target: str
    done: bool


@dataclass(frozen=True)
class Round:
    """A pass, and the nodes it is to be made on, in order."""

    name: str
    components: tuple[str, ...]
    nodes: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class UpgradePlan:
    """An upgrade before it begins."""

    cluster: str
    target: Target
    changes: tuple[Change, ...]
    rounds: tuple[Round, ...]  # only those with something to do
    refusals: tuple[Refusal, ...]
    begun: bool  # some nodes have the target already: an upgrade that was cut off
    remarks: tuple[str, ...] = ()
    left: tuple[str, ...] = ()  # passes that --only leaves for another run


def plan(
    snapshot: Snapshot,
    target: Target,
    *,
    only: Collection[str] = (),
    outside: Outside | None = None,
    remarks: tuple[str, ...] = (),
) -> UpgradePlan:
    """The upgrade of a cluster as it is now."""
    steps = {step.name: step for step in STEPS}
    chosen = passes(snapshot, target, only)
    rounds = tuple(made for each in chosen if (made := _round(each, steps[each.name], snapshot)).nodes)
    first = next((name for each in rounds for name in each.nodes), "")
    changes = tuple(
        Change(
            node,
            component,
            str(runs(snapshot, node, component) or ""),
            str(target.of(component)),
            known(snapshot, node) and has(snapshot, node, component, target),
        )
        for node in snapshot.control_plane
        for step in STEPS
        for component in step.components
    )
    names = {each.name for each in chosen}
    return UpgradePlan(
        cluster=snapshot.plan.cluster,
        target=target,
        changes=changes,
        rounds=rounds,
        refusals=tuple(refusals(snapshot, target, first, outside or Outside())),
        begun=_begun(changes),
        remarks=remarks,
        left=tuple(name for name in steps if name not in names),
    )


def _round(each: Pass, step: Step, snapshot: Snapshot) -> Round:
    return Round(step.name, step.components, todo(each, snapshot), step.why)


def _begun(changes: tuple[Change, ...]) -> bool:
    """Whether some have what others still wait for."""
    kubernetes = {each.done for each in changes if each.component != "etcd"}
    etcd = {each.done for each in changes if each.component == "etcd"}
    return len(kubernetes) > 1 or len(etcd) > 1
