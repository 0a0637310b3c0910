"""What is looked at before nodes come or go: the cluster, the machines, and whether anything else is unfinished."""

from collections.abc import Collection

from cpkit.errors import Refused, Unreachable
from cpkit.facts.collect import collect
from cpkit.facts.ground import survey
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, settle
from cpkit.health.standing import refuse_other_versions
from cpkit.inventory import Cluster
from cpkit.operations import node_plan, preflight
from cpkit.operations.authorities import new_ones
from cpkit.operations.listener import Listener
from cpkit.operations.restore_under_way import under_way
from cpkit.pki.succession import flags

SHORT_LOOK, LONG_LOOK, PATIENCE = 5.0, 15.0, 60.0  # seconds; a machine with much to do is not dead


def look_well(cluster: Cluster, besides: Collection[str], *, etcd: bool = True) -> Snapshot:
    """A look at a cluster; one that misses a node besides those named may only have been too short, and is repeated."""
    seen: list[Snapshot] = []

    def missed(snapshot: Snapshot) -> list[Finding]:
        seen[:] = [snapshot]
        unheard = node_plan.unheard(snapshot, etcd=etcd)
        silent = [name for name in unheard if name not in besides or _may_answer(snapshot, name)]
        return [Finding("node.reachable", name, "unknown", "it did not answer") for name in silent]

    settle(lambda: collect(cluster, deadline=LONG_LOOK if seen else SHORT_LOOK), missed, deadline=PATIENCE)
    return seen[0]


def _may_answer(snapshot: Snapshot, name: str) -> bool:
    return bool(node_plan.reached(snapshot, name)) and not node_plan.stopped(snapshot, name)


def refuse_unfinished(cluster: Cluster, snapshot: Snapshot) -> None:
    """Raise while an upgrade, a rotation of CAs or a restore was begun and is not over."""
    refuse_other_versions(snapshot)
    rotated = new_ones(snapshot)
    if rotated:
        raise Refused(
            "a rotation of CAs is under way, and its nodes must stay the same until it is over",
            hint=f"Finish it first: cpkit rotate-certs {flags(tuple(rotated))}",
        )
    begun = under_way(survey(cluster, ()))
    if begun:
        raise Refused(
            f"a restore of {begun.backup} is under way",
            hint="Finish it with the same command, or go back: cpkit restore etcd --abort",
        )


def check_machines(cluster: Cluster, names: Collection[str], ignore: frozenset[str], listener: Listener) -> None:
    """Preflight of machines that are to join; the cluster's other nodes are none of its business."""
    report = preflight.run(cluster, ignore=ignore, progress=listener.status)
    mine = [found for found in report.counted if found.node in names and found.level != "ok"]
    for found in mine:
        listener.say(f"{found.level:7} {found.check}  {found.node}: {found.text}")
        if found.hint:
            listener.say(f"        {found.hint}")
    blocking = [found for found in mine if found.blocks]
    if blocking:
        kind = Refused if any(found.level == "fail" for found in blocking) else Unreachable
        raise kind(
            f"{blocking[0].check}: {blocking[0].text}",
            node=blocking[0].node,
            hint="Nothing was changed. Mend what is named above, or pass --ignore NAME for what you know better.",
        )
