"""Renewal schedule: the nodes renew their own leaves by a timer, or do so no longer."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from cpkit import ansible
from cpkit.errors import CpkitError, Refused
from cpkit.inventory import Cluster
from cpkit.journal import open_run, owner
from cpkit.node.calendar import zoned
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import Confirm, Listener, stepping
from cpkit.operations.plays import Plays

OPERATION = "renewal-schedule"
PLAYBOOK = "renewal_schedule.yml"


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    remove: bool = False
    dry_run: bool = False
    diff: bool = False
    become_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Result:
    """How it ended."""

    calendar: str  # empty when it was taken away
    nodes: tuple[str, ...]  # those that were changed, or would be
    seconds: float
    directory: Path
    command: str  # the equivalent ansible-playbook line


def schedule(cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm) -> Result:
    """Give every node its timer, or take them away; a second run changes nothing."""
    ansible.program()
    calendar = "" if options.remove else zoned(cluster.spec.renewal_at)
    state = {"renewal_schedule_state": "absent"} if options.remove else {}
    play = ansible.Play(
        PLAYBOOK,
        cluster.inventory,
        variables={"claim_owner": owner(), **state},
        become_password=options.become_password,
    )
    with open_run(cluster.name, OPERATION) as run, interruptible(run):
        step, plays = stepping(run, listener), Plays(run, listener)
        with step("Compare the nodes with the inventory"):
            outcome = plays.apply(replace(play, check=True, diff=options.diff))
            nodes = tuple(name for name, sums in outcome.hosts.items() if sums.get("changed"))
        command = ansible.equivalent(play)
        if nodes and not options.dry_run:
            if not confirm(describe(cluster, calendar, nodes)):
                raise Refused("not confirmed", hint="Nothing was changed.")
            with step("Set the timers" if calendar else "Take the timers away"):
                _apply(plays, play)
        run.report(calendar=calendar, nodes=nodes, dry_run=options.dry_run, command=command)
        return Result(calendar, nodes, time.time() - run.started, run.directory, command)


def describe(cluster: Cluster, calendar: str, nodes: tuple[str, ...]) -> str:
    """The plan in words."""
    where = ", ".join(nodes)
    if not calendar:
        return f"This takes the timers away that renew leaves on {where}; the leaves stay as they are."
    return "\n".join(
        [
            f"{cluster.name} renews its leaves by itself, on {where}:",
            f"  when   {calendar}, each node at a time of its own within {cluster.spec.renewal_jitter_seconds} s",
            "  what   leaves that end within 90 days, or in the last third of a shorter life",
            "  how    one node at a time, without a restart; new leaves that are not in use are taken back",
        ]
    )


def _apply(plays: Plays, play: ansible.Play) -> None:
    try:
        plays.apply(play)
    except CpkitError:
        plays.give_lock_back(play)
        raise
