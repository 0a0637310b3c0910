"""Carry a reconfiguration out: under the cluster's lock and watched, step after step, etcd's leader last in each."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from cpkit import ansible
from cpkit.drift import BALANCERS, FILES, LEAVES, REST, restarting
from cpkit.errors import CpkitError, Interrupted, Locked
from cpkit.inventory import Cluster
from cpkit.journal import owner
from cpkit.operations.drift import Look, Options
from cpkit.operations.listener import Watcher, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.rotation import renewing
from cpkit.operations.turning import ending_turns, looking, stepping_down
from cpkit.rolling import Engine, Halt, Pass, Turn, halting


def play_of(cluster: Cluster, options: Options, playbook: str) -> ansible.Play:
    """A play on the whole cluster."""
    variables = {"claim_owner": owner()}
    return ansible.Play(playbook, cluster.inventory, variables=variables, become_password=options.become_password)


def carry_out(cluster: Cluster, found: Look, options: Options, plays: Plays, watcher: Watcher) -> tuple[Turn, ...]:
    """Every step that has something to do, in the order of the plan; the turns that were taken."""

    def noted() -> None:
        plays.listener.say("stopping after this node; Ctrl-C once more stops at once")

    with halting(noted) as halt, plays.locked(play_of(cluster, options, "lock.yml")):
        work = Work(cluster, found, options, plays, watcher, halt)
        turns = work.roll([_within(renewing(found.leaves), options.only)] if found.plan.of(LEAVES) else [])
        work.at_once(found.plan.of(FILES), FILES.name, "prepare.yml")
        work.balancers()
        turns += work.roll(restarting(found.plan, work.made))
        work.at_once(found.plan.of(REST), REST.name, "site.yml")
        return turns


@dataclass(frozen=True)
class Work:
    """A reconfiguration under way."""

    cluster: Cluster
    found: Look
    options: Options
    plays: Plays
    watcher: Watcher
    halt: Halt
    made: set[tuple[str, str]] = field(default_factory=set)  # step and node of each turn that ended well

    def roll(self, passes: Sequence[Pass]) -> tuple[Turn, ...]:
        """Passes that are made one gated node at a time, by the engine."""
        run, step = self.plays.run, stepping(self.plays.run, self.plays.listener)
        down = stepping_down(self.cluster, run, step)
        ending = ending_turns(self.watcher, step)
        look = looking(self.cluster, run)
        return Engine(look, self._turn, ending, self.halt, self.options.allow_degraded, down).run(passes)

    def at_once(self, nodes: Sequence[str], name: str, playbook: str) -> None:
        """What no unit that runs is touched for."""
        if not nodes:
            return
        self._refuse_halted(name)
        play = play_of(self.cluster, self.options, playbook)
        limit = ",".join(sorted(self.options.only))
        with self._step(name):
            self.plays.apply(replace(play, limit=limit))

    def balancers(self) -> None:
        """One after the other; the play asks the gate before and after each."""
        play = play_of(self.cluster, self.options, "reconfigure_balancers.yml")
        servers = [node.name for node in self.cluster.control_plane]
        for name in self.found.plan.of(BALANCERS):
            self._refuse_halted(name)
            with self._step(f"{BALANCERS.name} on {name}"):
                try:
                    self.plays.apply(replace(play, limit=",".join([*servers, name])))
                except CpkitError as error:
                    raise _stopped(error, name) from None

    def _turn(self, now: Turn) -> None:
        play = play_of(self.cluster, self.options, now.step.playbook)
        variables = {**play.variables, **now.step.variables, "gate_despite": sorted(now.despite)}
        self.watcher.touching(now.node)
        try:
            self.plays.apply(replace(play, limit=now.node, variables=variables))
        except CpkitError as error:
            raise _stopped(error, now.node) from None
        self.made.add((now.step.name, now.node))

    def _step(self, name: str) -> AbstractContextManager[None]:
        return stepping(self.plays.run, self.plays.listener)(name)

    def _refuse_halted(self, before: str) -> None:
        if self.halt.asked:
            raise Interrupted(f"stopped before {before}, as you asked", hint="Run the same command again to go on.")


def _within(step: Pass, only: Collection[str]) -> Pass:
    """The pass on some of the nodes alone, if any are named."""
    return replace(step, done=lambda seen, node: (bool(only) and node not in only) or step.done(seen, node))


def _stopped(error: CpkitError, node: str) -> CpkitError:
    """The same error, and where it leaves the cluster."""
    if not isinstance(error, Locked):
        error.hint = (
            f"The run stopped at {node}; no other node was touched, and the cluster goes on with them.\n"
            "  Look first: cpkit health. Put the inventory right and run the same command again: it goes on.\n"
            f"  {error.hint.rpartition(chr(10))[2].strip()}"
        )
    return error
