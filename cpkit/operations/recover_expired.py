"""Recover a cluster whose leaves have ended: new ones on all nodes at once, then wait until all is well."""

import time
from dataclasses import replace

from cpkit import ansible
from cpkit.errors import CpkitError, Refused, Unreachable, UsageError
from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.health import CHECKS, Finding, exit_code, judge, settle
from cpkit.health.certs import AUTHORITIES, days_left
from cpkit.inventory import Cluster
from cpkit.journal import open_run, owner
from cpkit.operations.access import write_kubeconfig
from cpkit.operations.interrupting import interruptible
from cpkit.operations.leaves import Target, due, serials
from cpkit.operations.listener import Confirm, Listener, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.rotation import OPERATION, Options, Plan, Result, describe, refuse_absent_keys, told
from cpkit.pki.renewal import Renewal

PLAYBOOK = "recover_leaves.yml"
DEADLINE = 180.0  # seconds until all services have found each other again


def recover_expired(cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm) -> Result:
    """Bring a cluster back that stands still because its leaves have ended; Refused while none has."""
    ansible.program()
    with open_run(cluster.name, OPERATION) as run, interruptible(run):
        step = stepping(run, listener)
        with step("Look at the cluster"):
            snapshot = collect(cluster)
            plan = _plan(cluster, snapshot)
        play = ansible.Play(
            PLAYBOOK,
            cluster.inventory,
            limit=",".join(plan.order),
            variables={"leaves_target": plan.target.variables(), "claim_owner": owner()},
            become_password=options.become_password,
        )
        command = ansible.equivalent(replace(play, variables={}))
        if options.dry_run:
            return Result(plan, (), time.time() - run.started, "", None, run.directory, command)
        if not confirm(describe(cluster.name, plan)):
            raise Refused("not confirmed", hint="Nothing was changed.")
        plays = Plays(run, listener)
        try:
            with step("Renew leaves on all nodes"):
                plays.apply(play)
        finally:
            plays.give_lock_back(play)
        with step("Wait for the cluster"):
            _await(cluster, plan, listener)
        renewed = serials(plan.target, collect(cluster))
        run.write("finished")
        run.report(renewed=told(renewed), command=command)
        written = options.kubeconfig
        if written:
            write_kubeconfig(cluster, written, merge=options.merge)
        return Result(plan, renewed, time.time() - run.started, "", written, run.directory, command)


def _plan(cluster: Cluster, snapshot: Snapshot) -> Plan:
    target = due(cluster, snapshot, Renewal())
    unknown = tuple(name for name in snapshot.control_plane if name not in target.nodes)
    majority = len(snapshot.control_plane) // 2 + 1
    if len(target.nodes) < majority:
        facts = snapshot.nodes[unknown[0]]
        raise Unreachable(
            f"{len(target.nodes)} of {len(snapshot.control_plane)} nodes answer, {majority} are needed: {facts.error}",
            node=facts.name,
            hint=facts.hint,
        )
    _refuse_ended_authorities(snapshot, target)
    if not any(each.why == "has ended" for each in target.leaves):
        raise UsageError(
            "no leaf has ended, so there is nothing to recover from", hint="Renew without a stop: cpkit rotate-certs"
        )
    order = tuple(node for node, leaves in target.nodes.items() if leaves)
    refuse_absent_keys(snapshot, order)
    return Plan(target, order, resumed=False, unknown=unknown, at_once=True)


def _refuse_ended_authorities(snapshot: Snapshot, target: Target) -> None:
    for found in judge(snapshot, ["certs.authorities"]):
        if found.level == "fail":
            raise Refused(found.text, node=found.node, hint=found.hint)
    for node in target.nodes:
        for each in snapshot.nodes[node].certificates:
            if each.path in AUTHORITIES and not each.error and days_left(each, snapshot.taken) <= 0:
                hint = "A leaf never outlives its CA. Is the clock of the node right? If so, a new CA is needed."
                raise Refused(f"{each.path} has ended itself", node=node, hint=hint)


def _await(cluster: Cluster, plan: Plan, listener: Listener) -> None:
    """Wait until everything is well on the nodes that were there."""

    def check(snapshot: Snapshot) -> tuple[Finding, ...]:
        findings = judge(snapshot, list(CHECKS))
        blocking = [found for found in findings if found.blocks and found.node not in plan.unknown]
        if blocking:
            listener.status(f"waiting: {blocking[0].node or 'cluster'}: {blocking[0].text}")
        return tuple(blocking)

    blocking = settle(lambda: collect(cluster), check, deadline=DEADLINE)
    if blocking:
        error = CpkitError(
            f"the leaves are new, but the cluster is not healthy after {DEADLINE:.0f} s: {blocking[0].text}",
            node=blocking[0].node,
            hint="Look closer with: cpkit health",
        )
        error.code = exit_code(blocking)
        raise error
