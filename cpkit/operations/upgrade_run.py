"""Carry an upgrade's plan out: under the cluster's lock, watched, pass after pass, and reported however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from cpkit import ansible
from cpkit.errors import CpkitError, Locked
from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.inventory import Cluster
from cpkit.journal import Run, owner
from cpkit.operations import downgrade
from cpkit.operations.access import watching
from cpkit.operations.listener import Watcher, WatchFactory, stepping
from cpkit.operations.members import over_ssh
from cpkit.operations.pausing import Between
from cpkit.operations.plays import Plays
from cpkit.operations.turning import ending_turns, looking, stepping_down, term
from cpkit.operations.upgrade_plan import Options
from cpkit.rolling import Engine, Pass, Turn, halting
from cpkit.upgrade import STEPS, Target, UpgradePlan, downgrade_of, goes_back, passes

PLACE = "place_binaries.yml"


@dataclass
class Watched:
    """What was seen of the API and of etcd's leaders while the body ran."""

    watcher: Watcher
    turns: tuple[Turn, ...] = ()
    seen: str = ""
    terms: int = 0


def play_of(cluster: Cluster, target: Target, options: Options, playbook: str) -> ansible.Play:
    """A play that is given the target's versions."""
    variables = {**target.variables(), "claim_owner": owner()}
    return ansible.Play(playbook, cluster.inventory, variables=variables, become_password=options.become_password)


def roll(cluster: Cluster, target: Target, options: Options, plays: Plays, watcher: Watcher) -> tuple[Turn, ...]:
    """Under the cluster's lock: binaries on all nodes first, then turn after turn."""
    step = stepping(plays.run, plays.listener)
    between = Between(options.pausing, watcher, plays.listener, ending_turns(watcher, step))

    def turn(now: Turn) -> None:
        play = play_of(cluster, target, options, now.step.playbook)
        variables = {**play.variables, **now.step.variables, "gate_despite": sorted(now.despite)}
        variables |= {"gate_asked": False} if between.waited else {}  # so that the play asks itself
        watcher.touching(now.node)
        try:
            plays.apply(replace(play, limit=now.node, variables=variables))
        except CpkitError as error:
            if not isinstance(error, Locked):
                error.hint = _stopped(now, target, error.hint)
            raise

    def told() -> None:
        plays.listener.say("stopping after this node; Ctrl-C once more stops at once")

    place = play_of(cluster, target, options, PLACE)
    with halting(told) as halt, plays.locked(place):
        with step("Put the binaries on all nodes"):
            plays.apply(place)
        down = stepping_down(cluster, plays.run, step)
        engine = Engine(looking(cluster, plays.run), turn, between, halt, step_down=down)
        turns: tuple[Turn, ...] = ()
        for each in passes(collect(cluster), target, options.only):
            with _etcd_allowed(cluster, target, each, plays):
                turns += engine.run([each])
        return turns


@contextmanager
def _etcd_allowed(cluster: Cluster, target: Target, each: Pass, plays: Plays) -> Iterator[None]:
    """Around the pass of etcd: let it go back by a minor if it shall, and end an earlier downgrade if it shall not."""
    step, members = stepping(plays.run, plays.listener), over_ssh(cluster)
    if each.playbook != STEPS[0].playbook:
        yield
        return
    snapshot = collect(cluster)
    going = goes_back(snapshot, target)
    if going:
        with step(f"Let etcd go back to {target.etcd.series}"):
            downgrade.enable(members, target.etcd)
    elif downgrade_of(snapshot):
        with step("Cancel the downgrade of etcd"):
            downgrade.cancel(members)
    yield
    if going:
        with step("Wait until etcd has ended the downgrade"):
            downgrade.finish(members)


@contextmanager
def reported(
    cluster: Cluster, run: Run, watch: WatchFactory, found: UpgradePlan, before: Snapshot, saved: str, command: str
) -> Iterator[Watched]:
    """Watch the API meanwhile, and write the report however it ends."""
    watcher = watching(cluster, watch, nodes=True)
    watched = Watched(watcher)
    try:
        yield watched
    finally:
        seen = watcher.stop()
        after = collect(cluster)
        watched.seen, watched.terms = str(seen), max(term(after) - term(before), 0)
        run.report(
            target=found.target.variables(),
            availability=asdict(seen),
            versions={"before": _versions(before), "after": _versions(after)},
            raft_terms_passed=watched.terms,
            backup=saved,
            resumed=found.begun,
            command=command,
        )


def _stopped(turn: Turn, target: Target, log: str) -> str:
    return (
        f"The run stopped at {turn.node}; no other node was touched, and the cluster goes on with them.\n"
        f"  Look first: cpkit health. Nodes that have {target} already may stay so. Then run the same command again,\n"
        f"  or name another version.\n  {log.rpartition(chr(10))[2].strip()}"
    )


def _versions(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    names = [component for step in STEPS for component in step.components]
    hosts = {name: facts.host for name, facts in snapshot.control_plane.items()}
    return {
        node: {name: host.components[name].running for name in names if name in host.components}
        for node, host in hosts.items()
        if host is not None
    }
