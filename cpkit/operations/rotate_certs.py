"""Rotate certificates: every leaf that is due is replaced, one gated node at a time, and no unit is restarted."""

import time
from dataclasses import asdict, replace
from pathlib import Path

from cpkit import ansible, kubeconfig
from cpkit.errors import Refused
from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.inventory import Cluster
from cpkit.journal import Run, owner
from cpkit.operations import rotation
from cpkit.operations.access import watching, write_kubeconfig
from cpkit.operations.interrupting import interruptible
from cpkit.operations.leaves import Due, serials
from cpkit.operations.listener import Confirm, Listener, WatchFactory, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.rotation import Options, Plan, Result
from cpkit.operations.turning import looking
from cpkit.pki.renewal import Renewal
from cpkit.rolling import Engine, Turn, halting
from cpkit.runs import drawn_run


def rotate_certs(
    cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm, watch: WatchFactory
) -> Result:
    """Renew what is due, or what an earlier run that was cut off has left; with nothing due, nothing is touched."""
    if options.kubeconfig:
        kubeconfig.check(options.kubeconfig, cluster.name, merge=options.merge)
    ansible.program()
    with drawn_run(cluster.name, rotation.OPERATION) as run, interruptible(run):
        step = stepping(run, listener)
        with step("Look at the cluster"):
            snapshot = collect(cluster)
            plan = rotation.plan(cluster, snapshot, options)
        command = ansible.equivalent(replace(_play(cluster, plan, options), variables=_by_hand(options.renewal)))
        if options.dry_run or not plan.order:
            _close(run, options)
            written = _kubeconfig(cluster, options)
            return Result(plan, (), time.time() - run.started, "", written, run.directory, command)
        if not confirm(rotation.describe(cluster.name, plan)):
            raise Refused("not confirmed", hint="Nothing was changed.")
        silent = {name: facts.error for name, facts in snapshot.nodes.items() if facts.host is None}
        run.write("plan", nodes=plan.order, silent=silent, command=command)
        renewed: tuple[tuple[Due, str], ...] = ()
        watcher = watching(cluster, watch, nodes=True)
        try:
            _roll(cluster, plan, options, snapshot, Plays(run, listener))
            renewed = serials(plan.target, collect(cluster))
            run.write("finished")
        finally:
            seen = watcher.stop()
            run.report(availability=asdict(seen), renewed=rotation.told(renewed), resumed=plan.resumed, command=command)
        written = _kubeconfig(cluster, options)
        return Result(plan, renewed, time.time() - run.started, str(seen), written, run.directory, command)


def _roll(cluster: Cluster, plan: Plan, options: Options, snapshot: Snapshot, plays: Plays) -> None:
    """Turn after turn, under the cluster's lock on every node that can be reached.

    The target is written down when the first node may be touched: a run that touched none leaves nothing to finish.
    """
    play = _play(cluster, plan, options)
    reachable = ",".join(name for name, facts in snapshot.control_plane.items() if facts.host is not None)
    begun = False

    def turn(now: Turn) -> None:
        nonlocal begun
        if not begun:
            plays.run.write("target", choice=options.choice, nodes=plan.target.to_journal())
            begun = True
        variables = {**play.variables, **now.step.variables, "gate_despite": sorted(now.despite)}
        plays.apply(replace(play, playbook=now.step.playbook, limit=now.node, variables=variables))

    def told() -> None:
        plays.listener.say("stopping after this node; Ctrl-C once more stops at once")

    step = stepping(plays.run, plays.listener)
    with halting(told) as halt, plays.locked(replace(play, limit=reachable)):
        engine = Engine(looking(cluster, plays.run), turn, step, halt, options.allow_degraded)
        engine.run([rotation.renewing(plan.target)])


def _play(cluster: Cluster, plan: Plan, options: Options) -> ansible.Play:
    variables = {"leaves_target": plan.target.variables(), "claim_owner": owner()}
    return ansible.Play(
        rotation.PLAYBOOK, cluster.inventory, variables=variables, become_password=options.become_password
    )


def _by_hand(renewal: Renewal) -> dict[str, object]:
    """What somebody gives to the playbook who runs it without cpkit."""
    variables: dict[str, object] = {"leaves_renew": "all"} if renewal.everything else {}
    variables |= {"leaves_only": sorted(renewal.only)} if renewal.only else {}
    return variables | ({"leaves_days": int(renewal.days)} if renewal.days else {})


def _close(run: Run, options: Options) -> None:
    """With nothing left to renew, what an earlier run began is finished."""
    if not options.dry_run:
        run.write("target", choice=options.choice, nodes={})
        run.write("finished")


def _kubeconfig(cluster: Cluster, options: Options) -> Path | None:
    if options.kubeconfig and not options.dry_run:
        write_kubeconfig(cluster, options.kubeconfig, merge=options.merge)
        return options.kubeconfig
    return None
