"""Schedule: the nodes take backups by themselves as the inventory asks, or stop it when it asks for none."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from cpkit import ansible
from cpkit.backup.schedule import refuse_unusable
from cpkit.errors import CpkitError, Refused
from cpkit.inventory import Cluster, ClusterSpec
from cpkit.journal import open_run, owner
from cpkit.node.calendar import zoned
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import Confirm, Listener, stepping
from cpkit.operations.plays import Plays

PLAYBOOK = "backup_schedule.yml"


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    dry_run: bool = False
    diff: bool = False
    become_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Result:
    """How it ended."""

    calendar: str  # empty when the inventory asks for no schedule
    nodes: tuple[str, ...]  # those that were changed, or would be
    seconds: float
    directory: Path
    command: str  # the equivalent ansible-playbook line


def schedule(cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm) -> Result:
    """Bring the nodes to the inventory's schedule; every reason why one cannot is told before any is changed."""
    spec = cluster.spec
    calendar = zoned(spec.backup_schedule_at) if spec.backup_schedule_at else ""
    if calendar:
        refuse_unusable(store_of(spec), spec.backup_recipients, spec.backup_schedule_s3_credentials)
    ansible.program()
    play = ansible.Play(
        PLAYBOOK,
        cluster.inventory,
        variables={"claim_owner": owner()},
        become_password=options.become_password,
    )
    with open_run(cluster.name, "backup-schedule") as run, interruptible(run):
        step, plays = stepping(run, listener), Plays(run, listener)
        with step("Compare the nodes with the inventory"):
            outcome = plays.apply(replace(play, check=True, diff=options.diff))
            nodes = tuple(name for name, sums in outcome.hosts.items() if sums.get("changed"))
        command = ansible.equivalent(play)
        if nodes and not options.dry_run:
            if not confirm(describe(cluster, calendar, nodes)):
                raise Refused("not confirmed", hint="Nothing was changed.")
            with step("Set the schedule" if calendar else "Take the schedule away"):
                _apply(plays, play)
        run.report(calendar=calendar, nodes=nodes, dry_run=options.dry_run, command=command)
        return Result(calendar, nodes, time.time() - run.started, run.directory, command)


def store_of(spec: ClusterSpec) -> str:
    """Where the nodes put their backups."""
    return spec.backup_schedule_store or spec.backup_store


def describe(cluster: Cluster, calendar: str, nodes: tuple[str, ...]) -> str:
    """The plan in words."""
    spec = cluster.spec
    if not calendar:
        return f"The inventory asks for no schedule. This takes it away from {', '.join(nodes)}; backups stay."
    keep = {name: getattr(spec, f"backup_keep_{name}") for name in ("last", "daily", "weekly", "monthly")}
    kept = ", ".join(f"{name} {count}" for name, count in keep.items() if count) or "all of them"
    return "\n".join(
        [
            f"{cluster.name} takes backups by itself, on {', '.join(nodes)}:",
            f"  when        {calendar}, up to {spec.backup_schedule_jitter_seconds} s later",
            f"  into        {store_of(spec)}",
            f"  sealed for  {', '.join(spec.backup_recipients)}",
            f"  kept        {kept}",
        ]
    )


def _apply(plays: Plays, play: ansible.Play) -> None:
    try:
        plays.apply(play)
    except CpkitError:
        plays.give_lock_back(play)
        raise
