"""Read what an upgrade, its end or its way back would do now, and refuse what must not be."""

from dataclasses import dataclass, field, replace
from typing import Literal

from cpkit import artifacts
from cpkit.backup import Sealing
from cpkit.errors import Refused, Unreachable, UsageError
from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, settle
from cpkit.health.quorum import join
from cpkit.inventory import Cluster
from cpkit.operations.accepting import added, unaccepted
from cpkit.operations.api_facts import api_facts
from cpkit.operations.pausing import Pausing
from cpkit.rolling import GATE
from cpkit.runs import listed
from cpkit.upgrade import (
    Outside,
    Saved,
    Target,
    UpgradePlan,
    advice,
    after,
    chain,
    drift,
    expected,
    final_target,
    lasting,
    target_before,
    target_of,
)
from cpkit.upgrade import plan as judge

AGAIN = 10.0  # seconds for any node to answer
EARLIER = 20  # runs that are looked at for how long a turn takes
Aim = Literal["upgrade", "finalize", "rollback"]


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    to: str = ""
    etcd: str = ""
    only: frozenset[str] = frozenset()
    no_backup: bool = False
    sealing: Sealing = field(default=None, repr=False)
    dry_run: bool = False
    become_password: str = field(default="", repr=False)
    rollback_safe: bool = False
    aim: Aim = "upgrade"
    saved: Saved | None = None  # the plan that must still fit
    pausing: Pausing = field(default_factory=Pausing)


def plan(cluster: Cluster, options: Options, target: Target | None = None) -> tuple[Snapshot, UpgradePlan]:
    """What an upgrade would do now, or its step to a target; only reads, and fetches nothing."""
    snapshot = _look(cluster)
    steps = chain(snapshot, target or _target(cluster, snapshot, options))
    if strange := sorted(options.only - set(snapshot.plan.control_plane)):
        known = join(snapshot.plan.control_plane)
        raise UsageError(f"{strange[0]!r} is no control-plane node of the inventory", hint=f"They are: {known}.")
    if options.only and len(steps) > 1:
        raise UsageError("--only goes one minor", hint=f"First: --to {steps[0].kubernetes}")
    if options.saved and (drifted := drift(options.saved, snapshot, cluster.spec, steps)):
        more = f" (and {len(drifted) - 1} more)" if len(drifted) > 1 else ""
        hint = "\n  ".join([*drifted[1:], "Look at a new plan: cpkit upgrade plan --save FILE", "Nothing was changed."])
        raise Refused(f"the cluster is not what the plan was made of: {drifted[0]}{more}", hint=hint)
    return snapshot, _judged(cluster, snapshot, steps, options)


def _look(cluster: Cluster) -> Snapshot:
    """The cluster, looked at again for a while if no node answered at all: busy ones may be too late once."""
    seen: list[Snapshot] = []

    def look() -> Snapshot:
        seen[:] = [collect(cluster)]
        return seen[0]

    def judged(snapshot: Snapshot) -> tuple[Finding, ...]:
        answered = any(facts.host for facts in snapshot.control_plane.values())
        return () if answered else (Finding("node.reachable", "", "unknown", "no node answered"),)

    settle(look, judged, deadline=AGAIN)
    return seen[0]


def _judged(cluster: Cluster, snapshot: Snapshot, steps: tuple[Target, ...], options: Options) -> UpgradePlan:
    """The plan of the first step, with the others as they will follow and everything that forbids any of them."""
    learnt, remarks = api_facts(cluster)
    seen, plans = snapshot, []
    for step in steps:
        outside, more = _binaries(cluster, step, learnt)
        made = judge(seen, step, only=options.only, outside=outside)
        told = (*remarks, *more, *advice(snapshot, step, outside))
        plans.append(replace(made, remarks=told, seconds=expected(made.rounds, _turns(cluster))))
        seen = after(seen, step)
    refusals = dict.fromkeys(refusal for each in plans for refusal in each.refusals)
    return replace(plans[0], then=tuple(plans[1:]), refusals=tuple(refusals))


def settled(cluster: Cluster, options: Options, target: Target | None = None) -> tuple[Snapshot, UpgradePlan]:
    """A plan that only lasting reasons refuse: what the gate says is asked again for a while."""
    seen: list[tuple[Snapshot, UpgradePlan]] = []

    def judged(now: tuple[Snapshot, UpgradePlan]) -> tuple[Finding, ...]:
        seen[:] = [now]
        refusals = now[1].refusals
        if not all(each.passing for each in refusals):
            return ()
        return tuple(Finding(each.rule, each.node, "fail", each.text, each.hint) for each in refusals)

    settle(lambda: plan(cluster, options, target), judged, deadline=GATE)
    return seen[0]


def refuse(found: UpgradePlan) -> None:
    """Raise what forbids a plan."""
    if not found.refusals:
        return
    first, more = found.refusals[0], len(found.refusals) - 1
    kind = Unreachable if all(each.unknown for each in found.refusals) else Refused
    rest = f" (and {more} more: cpkit upgrade plan)" if more else ""
    raise kind(f"{first.text}{rest}", node=first.node, hint=f"{first.hint}\n  Nothing was changed.")


def refuse_without_backup(cluster: Cluster, options: Options) -> None:
    """Raise unless a backup can be taken, or none is wanted."""
    if not options.no_backup and not cluster.spec.backup_store:
        raise Refused(
            "there would be no way back from a failed upgrade: no backup is configured",
            hint="Set backup_store and backup_recipients in the inventory, or pass --no-backup if you have one.",
        )


def describe(found: UpgradePlan) -> str:
    """The plan in lines, for whoever has to agree to it."""
    lines = []
    for step in (found, *found.then):
        lines.append(f"{_head(step)}, one node after the other:" if step is found else f"Then to {step.target}:")
        for each in step.rounds:
            lines.append(f"  {' and '.join(each.components)}: {', '.join(each.nodes)}")
            lines.append(f"    {each.why}")
    seconds = sum(step.seconds for step in (found, *found.then))
    lines += [f"  about {lasting(seconds)}, as in earlier runs"] if seconds else []
    remarks = dict.fromkeys(remark for step in (found, *found.then) for remark in step.remarks)
    return "\n".join([*lines, *(f"  {remark}" for remark in remarks)])


def needed(cluster: Cluster, target: Target) -> dict[str, str]:
    """The variables an inventory has to set for it to ask for the target."""
    spec = cluster.spec
    wanted = {}
    if spec.kubernetes != target.kubernetes:
        wanted["cluster_kubernetes_version"] = str(target.kubernetes)
    if spec.cluster_emulated_version != target.emulates:
        wanted["cluster_emulated_version"] = target.emulates
    as_it_follows = spec.model_copy(update=wanted).etcd
    if as_it_follows != target.etcd:
        wanted["cluster_etcd_version"] = str(target.etcd)
    return wanted


def _target(cluster: Cluster, snapshot: Snapshot, options: Options) -> Target:
    if options.aim == "finalize":
        return final_target(cluster.spec, snapshot)
    if options.aim == "rollback":
        return target_before(cluster.spec, snapshot, to=options.to, etcd=options.etcd)
    return target_of(cluster.spec, snapshot, to=options.to, etcd=options.etcd, rollback_safe=options.rollback_safe)


def _head(found: UpgradePlan) -> str:
    where = f"{found.cluster} to {found.target}"
    if found.target.verb == "Finalize":
        return f"This finalizes the upgrade, after which there is no way back: {where}"
    if found.target.back:
        return f"This goes on taking back: {where}" if found.begun else f"This takes back: {where}"
    return f"This finishes an upgrade that was begun: {where}" if found.begun else f"This upgrades: {where}"


def _binaries(cluster: Cluster, target: Target, outside: Outside) -> tuple[Outside, tuple[str, ...]]:
    """What the target's binaries say of their flags, and their size, once they are here."""
    bundle = artifacts.cached(target.kubernetes, target.etcd)
    asked = added(cluster, target)
    if bundle is None:
        return outside, ("the flags are checked once the binaries are here: cpkit artifacts fetch",) if asked else ()
    size = sum(each.path.stat().st_size for binaries in bundle.components.values() for each in binaries)
    return replace(outside, unaccepted=unaccepted(cluster, target, bundle) if asked else {}, needed=size), ()


def _turns(cluster: Cluster) -> dict[str, list[float]]:
    """Seconds that each kind of turn took in earlier runs."""
    seconds: dict[str, list[float]] = {}
    for record in listed(cluster.name, EARLIER):
        for turn in record.turns:
            if turn.outcome == "done":
                seconds.setdefault(turn.what, []).append(turn.seconds)
    return seconds
