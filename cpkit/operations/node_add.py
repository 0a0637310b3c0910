"""Add nodes: learners first, voters once they have caught up, one after the other."""

from cpkit import ansible, artifacts
from cpkit.errors import Refused
from cpkit.facts.snapshot import Snapshot
from cpkit.health.change import Stage, joining
from cpkit.health.members import membership
from cpkit.health.quorum import State, join
from cpkit.inventory import Cluster
from cpkit.inventory.nodes import with_nodes, write
from cpkit.operations import node_plan
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import stepping
from cpkit.operations.members import refuse_locked
from cpkit.operations.node_checks import check_machines, look_well, refuse_unfinished
from cpkit.operations.node_join import bring_in
from cpkit.operations.node_run import (
    Ask,
    Options,
    Result,
    ended,
    with_watch,
    working,
)
from cpkit.runs import drawn_run

OPERATION = "node-add"


def add(cluster: Cluster, options: Options, ask: Ask) -> Result:
    """Make nodes of machines; the inventory names them from the start, so the same command goes on after a cut."""
    ansible.program()
    wanted = node_plan.named(options.nodes, cluster)
    held = {node.name for node in cluster.control_plane}
    new = {name: address for name, address in wanted.items() if name not in held}
    text, target = with_nodes(cluster.inventory, new) if new else ("", cluster)
    target = target.with_sudo_password(options.become_password)
    refuse_locked(cluster)
    with drawn_run(cluster.name, OPERATION) as run, interruptible(run):
        step = stepping(run, ask.listener)
        with step("Look at the cluster"):
            snapshot = look_well(target, wanted)
            stages = _judged(cluster, snapshot, options, list(wanted))
        with step(f"Check {join(wanted)}"):
            check_machines(target, wanted, options.ignore, ask.listener)
        plan = describe(target, snapshot, wanted, stages)
        run.write("plan", nodes=wanted, stages=[stage.words for stage in stages])
        if options.dry_run:
            return Result(cluster.name, plan)
        if not ask.confirm(plan):
            raise Refused("not confirmed", hint="Nothing was changed.")
        spec = cluster.spec
        artifacts.ensure(spec.kubernetes, spec.etcd, source=spec.artifacts_source, progress=ask.listener.progress)
        with working(cluster, options, run, ask) as work:
            if new:
                with step("Write the inventory"):
                    write(cluster.inventory, text)
            work.cluster = target
            bring_in(work, list(wanted))
            result = ended(work, run, stages, plan, _remarks(snapshot, list(wanted)))
        return with_watch(result, work)


def _judged(cluster: Cluster, snapshot: Snapshot, options: Options, names: list[str]) -> tuple[Stage, ...]:
    refuse_unfinished(cluster, snapshot)
    node_plan.refuse_strangers(snapshot)
    for name in names:
        state = node_plan.seat(snapshot, name)
        if state in {State.SILENT, State.SICK} or node_plan.lost(snapshot, name):
            raise Refused(
                "it is a member of etcd already, and does not serve",
                node=name,
                hint=f"Start it: systemctl start etcd. If its machine or its data is gone: cpkit node replace {name}",
            )
    stages = joining(membership(snapshot), names)
    node_plan.refuse_unwell(snapshot, names, allow_degraded=options.allow_degraded)
    return stages


def describe(cluster: Cluster, snapshot: Snapshot, wanted: dict[str, str], stages: tuple[Stage, ...]) -> str:
    """The plan in lines."""
    nodes = join(f"{name} ({address})" for name, address in wanted.items())
    leftovers = [name for name in wanted if node_plan.leftover(snapshot, name)]
    return node_plan.headed(
        f"This adds {nodes} to {cluster.name}, one member of etcd at a time:",
        stages,
        *(f"  {name}: etcd's data of an earlier member is moved aside" for name in leftovers),
        "  then the balancers are told, and every API server is started anew, one after the other",
    )


def _remarks(snapshot: Snapshot, names: list[str]) -> list[str]:
    hosts = [facts.host for facts in snapshot.control_plane.values() if facts.host]
    if any(host.backup for host in hosts):
        return [f"Backups are scheduled; to let {join(names)} take part: cpkit backup schedule"]
    return []
