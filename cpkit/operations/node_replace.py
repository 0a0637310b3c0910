"""Replace a node whose machine or disk is gone: the dead member goes first, then a machine takes its place."""

from dataclasses import dataclass

from cpkit import ansible, artifacts
from cpkit.errors import Refused, Unreachable, UsageError
from cpkit.facts.snapshot import MemberRow, Snapshot
from cpkit.health import gate
from cpkit.health.change import Stage, joining, replacing
from cpkit.health.members import membership
from cpkit.health.quorum import State, join
from cpkit.inventory import Cluster
from cpkit.inventory.nodes import with_address, write
from cpkit.operations import node_plan
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import stepping
from cpkit.operations.members import over_ssh, refuse_locked
from cpkit.operations.node_checks import check_machines, look_well, refuse_unfinished
from cpkit.operations.node_join import bring_in
from cpkit.operations.node_members import Roll
from cpkit.operations.node_remove import take_out
from cpkit.operations.node_run import (
    Ask,
    Options,
    Result,
    Work,
    ended,
    with_watch,
    working,
)
from cpkit.runs import drawn_run

OPERATION = "node-replace"


@dataclass(frozen=True)
class Replacement:
    """What is to be done about a node."""

    stages: tuple[Stage, ...]
    gone: MemberRow | None  # the member to be taken out first; None when that was done
    nothing: bool = False  # whether the node is whole


def replace(cluster: Cluster, options: Options, ask: Ask) -> Result:
    """Give a node's place to the machine at its address; the same command goes on after a cut."""
    ansible.program()
    (name,) = options.nodes
    here = {node.name: node.address for node in cluster.control_plane}
    if name not in here:
        raise UsageError(f"{name!r} is no control-plane node of the inventory", hint=f"They are: {join(here)}.")
    moves = bool(options.address) and options.address != here[name]
    text, target = with_address(cluster.inventory, name, options.address) if moves else ("", cluster)
    target = target.with_sudo_password(options.become_password)
    refuse_locked(cluster)
    with drawn_run(cluster.name, OPERATION) as run, interruptible(run):
        step = stepping(run, ask.listener)
        with step("Look at the cluster"):
            snapshot = look_well(cluster, [name])
            found = judged(snapshot, name, options, moves=moves)
            refuse_unfinished(cluster, snapshot)
        if found.nothing:
            return Result(cluster.name, f"{name} is a healthy voter, and there is nothing to replace.")
        with step(f"Check the machine for {name}"):
            check_machines(target, [name], options.ignore, ask.listener)
        plan = _described(target, name, found)
        run.write("plan", node=name, stages=[stage.words for stage in found.stages])
        if options.dry_run:
            return Result(cluster.name, plan)
        if not ask.confirm(plan):
            raise Refused("not confirmed", hint="Nothing was changed.")
        spec = cluster.spec
        artifacts.ensure(spec.kubernetes, spec.etcd, source=spec.artifacts_source, progress=ask.listener.progress)
        with working(cluster, options, run, ask) as work:
            if found.gone:
                _take_gone(work, snapshot, name, found.gone)
            if moves:
                with step("Write the inventory"):
                    write(cluster.inventory, text)
            work.cluster = target
            bring_in(work, [name])
            result = ended(work, run, found.stages, plan, ())
        return with_watch(result, work)


def _take_gone(work: Work, snapshot: Snapshot, name: str, gone: MemberRow) -> None:
    """Take the dead member out of etcd, and what tells of its API server."""
    with work.step(f"Take the {name} that is gone out of etcd"):
        take_out(work, gone, [name])
        address = node_plan.known_as(snapshot, [name]).plan.control_plane[name]
        Roll(over_ssh(work.cluster), snapshot, [name]).clear(name, address)


def _described(target: Cluster, name: str, found: Replacement) -> str:
    """The plan in lines."""
    address = next(node.address for node in target.control_plane if node.name == name)
    head = f"This gives the place of {name} in {target.name} to the machine at {address}:"
    return node_plan.headed(head, found.stages, f"  {_told(found.gone)}")


def judged(snapshot: Snapshot, name: str, options: Options, *, moves: bool) -> Replacement:
    """What is to be done, from wherever an earlier run was cut off; refuses to replace what lives. Pure."""
    known = node_plan.known_as(snapshot, [name])
    node_plan.refuse_strangers(known)
    row, state = node_plan.row_of(known, name), node_plan.seat(known, name)
    elsewhere = row is not None and snapshot.member_node(row) != name  # the user has written a new address already
    if elsewhere:
        node_plan.refuse_alive(known, name)
    gone = row if row is not None and (elsewhere or _is_gone(known, name, options, moves=moves)) else None
    members = membership(known)
    stages = replacing(members, name) if gone else joining(members, [name])
    whole = state is State.HEALTHY and not any(found.blocks for found in gate.after(known, name))
    if not whole:
        node_plan.refuse_unwell(known, [name], allow_degraded=options.allow_degraded)
    return Replacement(stages, gone, nothing=whole)


def _is_gone(snapshot: Snapshot, name: str, options: Options, *, moves: bool) -> bool:
    """Whether the member that etcd knows is gone for good; raises when that cannot be said."""
    facts, state = snapshot.nodes[name], node_plan.seat(snapshot, name)
    node_plan.refuse_alive(snapshot, name)
    if moves:
        if facts.host is not None:
            raise Refused(
                f"the machine at {facts.address} answers, and would come back beside the new one",
                node=name,
                hint="Power it off first. If it is sound: cpkit node remove, and cpkit node add the other one.",
            )
        return True
    if state is State.HEALTHY:
        return False
    if facts.host is None:
        raise Unreachable(
            f"no machine answers in its place: {facts.error}",
            node=name,
            hint=f"Bring a machine up at {facts.address}, or name another one: --address ADDRESS\n  {facts.hint}",
        )
    if facts.host.etcd_data is None:
        raise Unreachable("not known whether etcd has data there", node=name, hint="See: cpkit health")
    if not facts.host.etcd_data:
        return not _unstarted(snapshot, name)
    if state is State.LEARNER or _unstarted(snapshot, name):
        return False
    if not options.abandon_data:
        raise Refused(
            "etcd does not serve there, and its data is still there",
            node=name,
            hint=f"On {name}: systemctl start etcd; why it does not: journalctl -u etcd\n"
            "  If the data is damaged, it is moved aside: --abandon-data",
        )
    return True


def _unstarted(snapshot: Snapshot, name: str) -> bool:
    """Whether the member was announced, and has not started yet."""
    row = node_plan.row_of(snapshot, name)
    return row is not None and not row.name


def _told(gone: MemberRow | None) -> str:
    if gone is None:
        return "its member was taken out already, or is on its way in: this goes on where it stopped"
    return "the member that is gone goes first, then the new one comes as a learner, and gets a vote once it caught up"
