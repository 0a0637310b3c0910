"""Reconfigure a running cluster: what the inventory asks for, one gated node at a time, or back if that fails."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cpkit import ansible
from cpkit.drift import DriftPlan, told
from cpkit.errors import CpkitError, Refused
from cpkit.facts.collect import collect
from cpkit.inventory import Cluster
from cpkit.journal import Run
from cpkit.operations import drift
from cpkit.operations.access import watching
from cpkit.operations.drift import Look, Options
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import Confirm, Listener, Watcher, WatchFactory, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.reconfigure_run import carry_out, play_of
from cpkit.operations.turning import term
from cpkit.rolling import Turn
from cpkit.runs import drawn_run

OPERATION = "reconfigure"


@dataclass(frozen=True)
class Result:
    """How it ended."""

    plan: DriftPlan
    command: str  # the equivalent ansible-playbook line
    turns: tuple[Turn, ...] = ()
    seconds: float = 0.0
    availability: str = ""
    terms: int = 0  # raft terms that passed; each is a leader that was chosen anew
    directory: Path | None = None


@dataclass
class Watched:
    """What was seen of the API and of etcd's leaders while nodes were changed."""

    watcher: Watcher
    seen: str = ""
    terms: int = 0


def reconfigure(
    cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm, watch: WatchFactory
) -> Result:
    """Give every node what the inventory asks for; what an earlier run did is not done again."""
    ansible.program()
    command = ansible.equivalent(play_of(cluster, options, "reconfigure.yml"))
    with drawn_run(cluster.name, OPERATION) as run, interruptible(run):
        step = stepping(run, listener)
        with step("Compare every node with the inventory"):
            found = drift.compare(cluster, options, listener, run.log)
        if not options.dry_run:
            drift.refuse(found.plan)
        if options.dry_run or not found.plan.rounds:
            return Result(found.plan, command, directory=run.directory)
        if not confirm("\n".join(told(found.plan))):
            raise Refused("not confirmed", hint="Nothing was changed.")
        run.write("plan", rounds=[asdict(each) for each in found.plan.rounds], command=command)
        with _reported(cluster, run, watch, found, command) as watched:
            turns = carry_out(cluster, found, options, Plays(run, listener), watched.watcher)
            with step("Compare every node once more"):
                _refuse_left(drift.compare(cluster, options, listener, run.log).plan)
        seconds = time.time() - run.started
        return Result(found.plan, command, turns, seconds, watched.seen, watched.terms, run.directory)


def _refuse_left(left: DriftPlan) -> None:
    if left.changes:
        first, more = left.changes[0], len(left.changes) - 1
        what = ", ".join(first.paths) or first.why
        rest = f" (and {more} more: cpkit plan)" if more else ""
        raise CpkitError(
            f"{first.component} still differs from the inventory: {what}{rest}",
            node=first.node,
            hint="Somebody may have changed it meanwhile. Look with cpkit plan, and run the same command again.",
        )


@contextmanager
def _reported(cluster: Cluster, run: Run, watch: WatchFactory, found: Look, command: str) -> Iterator[Watched]:
    """Watch the API meanwhile, and write the report however it ends."""
    watched = Watched(watching(cluster, watch, nodes=True))
    try:
        yield watched
    finally:
        seen = watched.watcher.stop()
        watched.seen, watched.terms = str(seen), max(term(collect(cluster)) - term(found.snapshot), 0)
        run.report(
            availability=asdict(seen),
            rounds=[asdict(each) for each in found.plan.rounds],
            changed=[
                {"node": each.node, "component": each.component, "action": each.action} for each in found.plan.changes
            ],
            raft_terms_passed=watched.terms,
            command=command,
        )
