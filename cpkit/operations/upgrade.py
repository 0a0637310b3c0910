"""Upgrade a cluster: a verified backup, binaries on all nodes, then pass after pass, one gated node at a time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cpkit import ansible, artifacts
from cpkit.backup import Sealing
from cpkit.errors import CpkitError, Locked, Refused, Unreachable, UsageError
from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, settle
from cpkit.health.quorum import join
from cpkit.inventory import Cluster
from cpkit.inventory.writing import write_versions
from cpkit.journal import Run, owner
from cpkit.operations import backup
from cpkit.operations.accepting import added, unaccepted
from cpkit.operations.access import watching
from cpkit.operations.interrupting import interruptible
from cpkit.operations.kubelets import kubelets
from cpkit.operations.listener import Confirm, Listener, Watcher, WatchFactory, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.turning import ending_turns, looking, stepping_down, term
from cpkit.rolling import GATE, Engine, Turn, halting
from cpkit.runs import drawn_run
from cpkit.upgrade import STEPS, Outside, Target, UpgradePlan, passes, target_of
from cpkit.upgrade import plan as judge

OPERATION = "upgrade"
PLACE = "place_binaries.yml"


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    to: str = ""
    etcd: str = ""
    only: frozenset[str] = frozenset()
    no_backup: bool = False
    sealing: Sealing = field(default=None, repr=False)
    dry_run: bool = False
    become_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Result:
    """How it ended."""

    plan: UpgradePlan
    turns: tuple[Turn, ...] = ()
    seconds: float = 0.0
    availability: str = ""
    terms: int = 0  # raft terms that passed; each is a leader that was chosen anew
    backup: str = ""
    written: Path | None = None  # the file of the inventory that has the versions now
    directory: Path | None = None
    command: str = ""


def plan(cluster: Cluster, options: Options) -> tuple[Snapshot, UpgradePlan]:
    """What an upgrade would do now; only reads, and fetches nothing."""
    snapshot = collect(cluster)
    target = target_of(cluster.spec, snapshot, to=options.to, etcd=options.etcd)
    if strange := sorted(options.only - set(snapshot.plan.control_plane)):
        known = join(snapshot.plan.control_plane)
        raise UsageError(f"{strange[0]!r} is no control-plane node of the inventory", hint=f"They are: {known}.")
    outside, remarks = _outside(cluster, target)
    return snapshot, judge(snapshot, target, only=options.only, outside=outside, remarks=remarks)


def upgrade(cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm, watch: WatchFactory) -> Result:
    """Make every pass on every node that does not have it yet; what an earlier run did is not done again."""
    ansible.program()
    snapshot, found = _settled(cluster, options)
    command = ansible.equivalent(_play(cluster, found.target, options, "upgrade.yml"))
    _refuse(found)
    if options.dry_run or not found.rounds:
        written = None if options.dry_run else _write(cluster, found, options)
        return Result(found, written=written, command=command)
    _refuse_without_backup(cluster, options)
    artifacts.ensure(
        found.target.kubernetes, found.target.etcd, source=cluster.spec.artifacts_source, progress=listener.progress
    )
    if added(cluster):  # now the binaries can be asked about them
        snapshot, found = _settled(cluster, options)
        _refuse(found)
    if not confirm(describe(found)):
        raise Refused("not confirmed", hint="Nothing was changed.")
    saved = _backup(cluster, options, listener)
    with drawn_run(cluster.name, OPERATION) as run, interruptible(run):
        rounds = [asdict(each) for each in found.rounds]
        run.write("plan", target=found.target.variables(), rounds=rounds, command=command)
        with _reported(cluster, run, watch, found, snapshot, saved, command) as watched:
            watched.turns = _roll(cluster, found.target, options, Plays(run, listener), watched.watcher)
        return Result(
            plan=found,
            turns=watched.turns,
            seconds=time.time() - run.started,
            availability=watched.seen,
            terms=watched.terms,
            backup=saved,
            written=_write(cluster, found, options),
            directory=run.directory,
            command=command,
        )


def describe(found: UpgradePlan) -> str:
    """The plan in lines, for whoever has to agree to it."""
    head = "This finishes an upgrade that was begun" if found.begun else "This upgrades"
    lines = [f"{head}: {found.cluster} to {found.target}, one node after the other:"]
    for each in found.rounds:
        lines.append(f"  {' and '.join(each.components)}: {', '.join(each.nodes)}")
        lines.append(f"    {each.why}")
    return "\n".join([*lines, *(f"  {remark}" for remark in found.remarks)])


def _outside(cluster: Cluster, target: Target) -> tuple[Outside, tuple[str, ...]]:
    """What the API and the target's binaries say; what could not be learnt is a remark."""
    remarks, found = [], None
    try:
        found = kubelets(cluster)
    except CpkitError as error:
        remarks.append(f"kubelets were not checked: {error.message}")
    refused: dict[str, str] = {}
    if added(cluster):
        bundle = artifacts.cached(target.kubernetes, target.etcd)
        if bundle:
            refused = unaccepted(cluster, target, bundle)
        else:
            remarks.append("the inventory's flags are checked once the binaries are here: cpkit artifacts fetch")
    return Outside(found, refused), tuple(remarks)


def _settled(cluster: Cluster, options: Options) -> tuple[Snapshot, UpgradePlan]:
    """A plan that only lasting reasons refuse: what the gate says is asked again for a while."""
    seen: list[tuple[Snapshot, UpgradePlan]] = []

    def judged(now: tuple[Snapshot, UpgradePlan]) -> tuple[Finding, ...]:
        seen[:] = [now]
        refusals = now[1].refusals
        if not all(each.passing for each in refusals):
            return ()
        return tuple(Finding(each.rule, each.node, "fail", each.text, each.hint) for each in refusals)

    settle(lambda: plan(cluster, options), judged, deadline=GATE)
    return seen[0]


def _refuse(found: UpgradePlan) -> None:
    if not found.refusals:
        return
    first, more = found.refusals[0], len(found.refusals) - 1
    kind = Unreachable if all(each.unknown for each in found.refusals) else Refused
    rest = f" (and {more} more: cpkit upgrade plan)" if more else ""
    raise kind(f"{first.text}{rest}", node=first.node, hint=f"{first.hint}\n  Nothing was changed.")


def _refuse_without_backup(cluster: Cluster, options: Options) -> None:
    if not options.no_backup and not cluster.spec.backup_store:
        raise Refused(
            "there would be no way back from a failed upgrade: no backup is configured",
            hint="Set backup_store and backup_recipients in the inventory, or pass --no-backup if you have one.",
        )


def _backup(cluster: Cluster, options: Options, listener: Listener) -> str:
    """A backup that is read back and proven; its name, or nothing if none was wanted."""
    if options.no_backup:
        return ""
    taken = backup.backup(cluster, backup.Options(cluster.spec.backup_store, options.sealing), listener)
    return taken.sidecar.name


def _roll(cluster: Cluster, target: Target, options: Options, plays: Plays, watcher: Watcher) -> tuple[Turn, ...]:
    """Under the cluster's lock: binaries on all nodes first, then turn after turn."""
    step = stepping(plays.run, plays.listener)

    def turn(now: Turn) -> None:
        play = _play(cluster, target, options, now.step.playbook)
        variables = {**play.variables, **now.step.variables, "gate_despite": sorted(now.despite)}
        watcher.touching(now.node)
        try:
            plays.apply(replace(play, limit=now.node, variables=variables))
        except CpkitError as error:
            if not isinstance(error, Locked):
                error.hint = _stopped(now, target, error.hint)
            raise

    def told() -> None:
        plays.listener.say("stopping after this node; Ctrl-C once more stops at once")

    place = _play(cluster, target, options, PLACE)
    with halting(told) as halt, plays.locked(place):
        with step("Put the binaries on all nodes"):
            plays.apply(place)
        down = stepping_down(cluster, plays.run, step)
        engine = Engine(looking(cluster, plays.run), turn, ending_turns(watcher, step), halt, step_down=down)
        return engine.run(passes(collect(cluster), target, options.only))


def _stopped(turn: Turn, target: Target, log: str) -> str:
    return (
        f"The run stopped at {turn.node}; no other node was touched, and the cluster goes on with them.\n"
        f"  Look first: cpkit health. Nodes that have {target} already may stay so. Then run the same command again,\n"
        f"  or name another version.\n  {log.rpartition(chr(10))[2].strip()}"
    )


def _play(cluster: Cluster, target: Target, options: Options, playbook: str) -> ansible.Play:
    variables = {**target.variables(), "claim_owner": owner()}
    return ansible.Play(playbook, cluster.inventory, variables=variables, become_password=options.become_password)


@dataclass
class _Watched:
    watcher: Watcher
    turns: tuple[Turn, ...] = ()
    seen: str = ""
    terms: int = 0


@contextmanager
def _reported(
    cluster: Cluster, run: Run, watch: WatchFactory, found: UpgradePlan, before: Snapshot, saved: str, command: str
) -> Iterator[_Watched]:
    """Watch the API meanwhile, and write the report however it ends."""
    watcher = watching(cluster, watch, nodes=True)
    watched = _Watched(watcher)
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


def _versions(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    names = [component for step in STEPS for component in step.components]
    hosts = {name: facts.host for name, facts in snapshot.control_plane.items()}
    return {
        node: {name: host.components[name].running for name in names if name in host.components}
        for node, host in hosts.items()
        if host is not None
    }


def _write(cluster: Cluster, found: UpgradePlan, options: Options) -> Path | None:
    """The inventory names what runs, once all nodes have it."""
    wanted = needed(cluster, found.target)
    if not wanted or options.only or found.left:
        return None
    return write_versions(cluster.inventory, wanted)


def needed(cluster: Cluster, target: Target) -> dict[str, str]:
    """The variables an inventory has to set for it to ask for the target."""
    spec = cluster.spec
    wanted = {}
    if spec.kubernetes != target.kubernetes:
        wanted["cluster_kubernetes_version"] = str(target.kubernetes)
    as_it_follows = spec.model_copy(update=wanted).etcd
    if as_it_follows != target.etcd:
        wanted["cluster_etcd_version"] = str(target.etcd)
    return wanted
