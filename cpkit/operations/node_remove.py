"""Remove nodes: nobody is sent there and nobody asks there before it stops; what it held is moved aside."""

from collections.abc import Collection

from cpkit import ansible
from cpkit.errors import Refused, UsageError
from cpkit.facts.snapshot import MemberRow, Snapshot
from cpkit.health import gate, judge
from cpkit.health.change import Stage, leaving
from cpkit.health.members import membership
from cpkit.health.quorum import join
from cpkit.inventory import Cluster
from cpkit.inventory.nodes import without_nodes, write
from cpkit.operations import node_plan
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import stepping
from cpkit.operations.members import over_ssh, refuse_locked
from cpkit.operations.node_checks import look_well, refuse_unfinished
from cpkit.operations.node_members import Roll, yield_leadership
from cpkit.operations.node_run import (
    Ask,
    Options,
    Result,
    Work,
    ended,
    wait,
    with_watch,
    working,
)
from cpkit.operations.node_telling import balance, tell_servers
from cpkit.runs import drawn_run

OPERATION = "node-remove"
QUORUM = ("etcd.quorum", "etcd.leader")


def remove(cluster: Cluster, options: Options, ask: Ask) -> Result:
    """Take nodes out of a cluster; the inventory forgets them last, so the same command goes on after a cut."""
    ansible.program()
    refuse_locked(cluster)
    with drawn_run(cluster.name, OPERATION) as run, interruptible(run):
        step = stepping(run, ask.listener)
        with step("Look at the cluster"):
            names = frozenset(options.nodes)
            snapshot = node_plan.known_as(look_well(cluster, names), names)
            stages = _judged(cluster, snapshot, options)
            text = without_nodes(cluster.inventory, names & {node.name for node in cluster.control_plane})
        plan = describe(snapshot, options.nodes, stages)
        run.write("plan", nodes=options.nodes, stages=[stage.words for stage in stages])
        if options.dry_run:
            return Result(cluster.name, plan)
        if not ask.confirm(plan):
            raise Refused("not confirmed", hint="Nothing was changed.")
        with working(cluster, options, run, ask) as work:
            _take_out(work, snapshot, stages)
            with step("Write the inventory"):
                work.cluster = write(cluster.inventory, text).with_sudo_password(options.become_password)
            result = ended(work, run, stages, plan, _remarks(snapshot, names))
        return with_watch(result, work)


def _judged(cluster: Cluster, snapshot: Snapshot, options: Options) -> tuple[Stage, ...]:
    unknown = [name for name in options.nodes if name not in snapshot.plan.control_plane]
    if unknown:
        raise UsageError(
            f"{unknown[0]!r} is neither a control-plane node of the inventory nor a member of etcd",
            hint=f"They are: {join(snapshot.plan.control_plane)}.",
        )
    refuse_unfinished(cluster, snapshot)
    node_plan.refuse_strangers(snapshot)
    for name in options.nodes:
        node_plan.refuse_alive(snapshot, name)
    stages = leaving(membership(snapshot), options.nodes)
    node_plan.refuse_unwell(snapshot, options.nodes, allow_degraded=options.allow_degraded)
    return stages


def _take_out(work: Work, snapshot: Snapshot, stages: tuple[Stage, ...]) -> None:
    """From members that are dead to those that serve: these are asked for nothing any longer before they end."""
    names = work.options.nodes
    order = [stage.what.removeprefix("without ") for stage in stages[1:]]
    well = {name for name in names if name in snapshot.nodes and _well(snapshot, name)}
    gone = [name for name in names if name not in well]
    reachable = [name for name in names if snapshot.nodes[name].host is not None]
    answering = node_plan.present(snapshot)
    present = [name for name in snapshot.plan.control_plane if name in answering]
    with work.locked(present):
        _remove_members(work, snapshot, [name for name in order if name in gone], gone)
        tell_servers(work, leaving=sorted(well), gone=gone)
        balance(work, snapshot, names)
        if reachable:
            with work.step(f"Stop the API server and the controllers on {join(reachable)}"):
                work.play("retire_serving.yml", reachable)
        _remove_members(work, snapshot, [name for name in order if name in well], names)
        if reachable:
            with work.step(f"Stop etcd on {join(reachable)}, and move everything aside"):
                work.play("retire.yml", reachable)
        with work.step("Clear what tells of them"):
            roll = Roll(over_ssh(work.cluster), snapshot, names)
            for name in names:
                roll.clear(name, snapshot.plan.control_plane[name])


def _well(snapshot: Snapshot, name: str) -> bool:
    return not any(found.blocks for found in gate.after(snapshot, name) if found.node == name)


def _remove_members(work: Work, snapshot: Snapshot, order: list[str], leaving: Collection[str]) -> None:
    """Take members out of etcd, the leader last, and not before it has handed leadership over."""
    for name in order:
        row = node_plan.row_of(snapshot, name)
        if row is None:
            continue
        with work.step(f"Take {name} out of etcd"):
            take_out(work, row, leaving)


def take_out(work: Work, row: MemberRow, leaving: Collection[str]) -> None:
    """Take one member out of etcd, and wait until the others agree on who leads them."""
    members = over_ssh(work.cluster)
    now = work.look_well(leaving)
    if any(each.id == row.id for each in now.etcd.members):
        heir = yield_leadership(members, now, leaving)
        if heir:
            work.plays.listener.say(f"{heir} leads now")
        Roll(members, now, leaving).remove(int(row.id, 16))
    wait(work, lambda seen: judge(seen, QUORUM), "it was taken out, but etcd is not well", besides=leaving)


def describe(snapshot: Snapshot, names: tuple[str, ...], stages: tuple[Stage, ...]) -> str:
    """The plan in lines."""
    lines = []
    for name in names:
        facts = snapshot.nodes[name]
        what = (
            "its services stop, and what it holds is moved aside"
            if facts.host is not None
            else f"does not answer ({facts.error}), so nothing is done on it"
        )
        lines.append(f"  {name} ({snapshot.plan.control_plane[name]}): {what}")
    lines.append("  every API server that stays is started anew, one after the other, and the balancers are told")
    return node_plan.headed(
        f"This takes {join(names)} out of {snapshot.plan.cluster}, one member of etcd at a time:", stages, *lines
    )


def _remarks(snapshot: Snapshot, names: Collection[str]) -> list[str]:
    silent = sorted(name for name in names if snapshot.nodes[name].host is None)
    if not silent:
        return []
    keys = f"{join(silent)} did not answer, and {'has' if len(silent) == 1 else 'have'} the cluster's keys still."
    again = "Its etcd would end by itself, but its API server would serve, which cpkit health tells."
    stop = "systemctl disable --now kube-apiserver kube-controller-manager kube-scheduler etcd"
    return [f"{keys} Do not let it come back.", f"{again} There: {stop}"]
