"""Timer: what the nodes do by themselves at a set time, laid down on them or taken away."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cpkit import ansible
from cpkit.errors import Refused
from cpkit.inventory import Cluster
from cpkit.journal import open_run, owner
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import Confirm, Listener, stepping
from cpkit.operations.plays import Plays


@dataclass(frozen=True)
class Timer:
    """What is to be on the nodes, the play that brings it there, and the words for it."""

    operation: str
    playbook: str
    calendar: str  # empty when it is to be taken away
    plan: Callable[[str], str]  # in words, given the nodes that change
    step: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    dry_run: bool = False
    diff: bool = False
    become_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Result:
    """How it ended."""

    calendar: str  # empty when the nodes have none
    nodes: tuple[str, ...]  # those that were changed, or would be
    seconds: float
    directory: Path
    command: str  # the equivalent ansible-playbook line


def set_timer(cluster: Cluster, timer: Timer, options: Options, listener: Listener, *, confirm: Confirm) -> Result:
    """Bring the nodes to what the timer says; a second run changes nothing."""
    ansible.program()
    play = ansible.Play(
        timer.playbook,
        cluster.inventory,
        variables={"claim_owner": owner(), **timer.variables},
        become_password=options.become_password,
    )
    with open_run(cluster.name, timer.operation) as run, interruptible(run):
        step, plays = stepping(run, listener), Plays(run, listener)
        with step("Compare the nodes with the inventory"):
            outcome = plays.apply(replace(play, check=True, diff=options.diff))
            nodes = tuple(name for name, sums in outcome.hosts.items() if sums.get("changed"))
        command = ansible.equivalent(play)
        if nodes and not options.dry_run:
            if not confirm(timer.plan(", ".join(nodes))):
                raise Refused("not confirmed", hint="Nothing was changed.")
            with step(timer.step):
                _apply(plays, play)
        run.report(calendar=timer.calendar, nodes=nodes, dry_run=options.dry_run, command=command)
        return Result(timer.calendar, nodes, time.time() - run.started, run.directory, command)


def _apply(plays: Plays, play: ansible.Play) -> None:
    with plays.unlocked_at_a_failure(play):
        plays.apply(play)
