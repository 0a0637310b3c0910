"""What an upgrade would do, in which order, and why it may not; pure."""

from collections.abc import Collection
from dataclasses import dataclass

from cpkit.facts.snapshot import Snapshot
from cpkit.rolling import Pass, known, todo
from cpkit.upgrade.outside import Outside
from cpkit.upgrade.passes import STEPS, called, has, passes
from cpkit.upgrade.refusals import Refusal, refusals
from cpkit.upgrade.target import Target, part, runs


@dataclass(frozen=True)
class Change:
    """A component of a node, and whether it has its version already."""

    node: str
    component: str
    running: str  # empty when it is not known
    target: str
    done: bool
    emulates: str = ""  # the minor that it behaves like now, if not its own
    will_emulate: str = ""


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
    then: tuple["UpgradePlan", ...] = ()  # the further minors of a chain, each planned as if the one before was done
    seconds: float = 0.0  # that it should take, by earlier runs; 0 when there were none
    cancels: str = ""  # the minor of a downgrade of etcd that is enabled, and does not lead to the target

    @property
    def todo(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.rounds or self.cancels or self.then)

    @property
    def end(self) -> Target:
        """Where it leads in the end."""
        return self.then[-1].target if self.then else self.target


def plan(
    snapshot: Snapshot,
    target: Target,
    *,
    only: Collection[str] = (),
    outside: Outside | None = None,
    remarks: tuple[str, ...] = (),
) -> UpgradePlan:
    """The upgrade of a cluster as it is now."""
    chosen = passes(snapshot, target, only)
    rounds = tuple(made for each in chosen if (made := _round(each, target, snapshot)).nodes)
    first = next((name for each in rounds for name in each.nodes), "")
    changes = tuple(
        _change(snapshot, node, component, target)
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
        cancels=series if (series := downgrade_of(snapshot)) != target.etcd.series else "",
        left=tuple(name for step in STEPS if (name := called(step, target)) not in names),
    )


def downgrade_of(snapshot: Snapshot) -> str:
    """The minor that etcd may be taken back to now; empty when no downgrade is enabled."""
    told = max((status.downgrade for status in snapshot.etcd.statuses.values()), default="")
    return ".".join(told.split(".")[:2])


def _change(snapshot: Snapshot, node: str, component: str, target: Target) -> Change:
    found = part(snapshot, node, component)
    return Change(
        node,
        component,
        str(runs(snapshot, node, component) or ""),
        str(target.of(component)),
        known(snapshot, node) and has(snapshot, node, component, target),
        found.emulates if found else "",
        target.emulated_by(component),
    )


def _round(each: Pass, target: Target, snapshot: Snapshot) -> Round:
    step = next(step for step in STEPS if called(step, target) == each.name)
    return Round(each.name, step.components, todo(each, snapshot), step.why_back if target.back else step.why)


def _begun(changes: tuple[Change, ...]) -> bool:
    """Whether some have what others still wait for."""
    kubernetes = {each.done for each in changes if each.component != "etcd"}
    etcd = {each.done for each in changes if each.component == "etcd"}
    return len(kubernetes) > 1 or len(etcd) > 1
