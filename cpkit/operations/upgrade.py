"""Upgrade a cluster, finalize that, or take it back: a verified backup, binaries on all nodes, then pass after pass."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cpkit import ansible, artifacts
from cpkit.backup.naming import SIDECAR, parse
from cpkit.backup.stores import open_store
from cpkit.errors import CpkitError, Refused, UsageError
from cpkit.facts.snapshot import Snapshot
from cpkit.inventory import Cluster, load
from cpkit.inventory.writing import write_versions
from cpkit.operations import backup
from cpkit.operations.accepting import added
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import Confirm, Listener, WatchFactory
from cpkit.operations.plays import Plays
from cpkit.operations.upgrade_plan import Options, describe, needed, plan, refuse, refuse_without_backup, settled
from cpkit.operations.upgrade_run import play_of, reported, roll
from cpkit.rolling import Turn
from cpkit.runs import drawn_run
from cpkit.upgrade import UpgradePlan, backup_age, saved_of

__all__ = ["Options", "Result", "describe", "look", "needed", "plan", "upgrade"]


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
    earlier: tuple["Result", ...] = ()  # of the steps of a chain before this one


def look(cluster: Cluster, options: Options, save: Path | None = None) -> UpgradePlan:
    """The plan with what the store says of backups, kept in a file if wanted; only reads."""
    if save and not save.parent.is_dir():
        raise UsageError(f"{save.parent} is no directory")
    snapshot, found = plan(cluster, options)
    if age := _backup_age(cluster):
        found = replace(found, remarks=(*found.remarks, age))
    if save:
        save.write_text(saved_of(found, snapshot, cluster.spec, options.only).to_text())
    return found


def _backup_age(cluster: Cluster) -> str:
    if not cluster.spec.backup_store:
        return "no backup is configured: set backup_store, or pass --no-backup to upgrade rolling"
    try:
        with open_store(cluster.spec.backup_store) as store:
            names = [name for item in store.list() if item.name.endswith(SIDECAR) and (name := parse(item.name))]
    except CpkitError as error:
        return f"the age of the newest backup is not known: {error.message}"
    times = [name.created.timestamp() for name in names if name.cluster == cluster.name]
    return backup_age((time.time() - max(times)) / 3600 if times else None)


def upgrade(cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm, watch: WatchFactory) -> Result:
    """Make every pass on every node that does not have it yet; what an earlier run did is not done again."""
    ansible.program()
    snapshot, found = settled(cluster, options)
    refuse(found)
    if options.dry_run or not found.todo:
        written = None if options.dry_run else _write(cluster, found, options)
        return Result(found, written=written, command=_command(cluster, found, options))
    refuse_without_backup(cluster, options)
    for step in (found, *found.then):
        artifacts.ensure(
            step.target.kubernetes, step.target.etcd, source=cluster.spec.artifacts_source, progress=listener.progress
        )
    if any(added(cluster, step.target) for step in (found, *found.then)):  # now the binaries can be asked about them
        snapshot, found = settled(cluster, options)
        refuse(found)
    if not confirm(describe(found)):
        raise Refused("not confirmed", hint="Nothing was changed.")
    done = _carry_out(cluster, options, listener, watch, snapshot, found)
    earlier: tuple[Result, ...] = ()
    for step in found.then:  # each is planned and gated anew, by what runs and the inventory says by then
        earlier += (done,)
        cluster = replace(cluster, spec=load(cluster.inventory).spec)
        options = replace(options, saved=None)
        snapshot, found = settled(cluster, options, step.target)
        refuse(found)
        done = _carry_out(cluster, options, listener, watch, snapshot, found)
    return replace(done, earlier=earlier)


def _carry_out(
    cluster: Cluster, options: Options, listener: Listener, watch: WatchFactory, before: Snapshot, found: UpgradePlan
) -> Result:
    """One step of a chain: a backup, then a run of its own."""
    saved, command = _backup(cluster, options, listener), _command(cluster, found, options)
    with drawn_run(cluster.name, options.aim) as run, interruptible(run):
        rounds = [asdict(each) for each in found.rounds]
        run.write("plan", target=found.target.variables(), rounds=rounds, command=command)
        with reported(cluster, run, watch, found, before, saved, command) as watched:
            watched.turns = roll(cluster, found.target, options, Plays(run, listener), watched.watcher)
        return Result(
            plan=replace(found, then=()),
            turns=watched.turns,
            seconds=time.time() - run.started,
            availability=watched.seen,
            terms=watched.terms,
            backup=saved,
            written=_write(cluster, found, options),
            directory=run.directory,
            command=command,
        )


def _command(cluster: Cluster, found: UpgradePlan, options: Options) -> str:
    playbook = "take_back.yml" if found.target.back else "upgrade.yml"
    return ansible.equivalent(play_of(cluster, found.target, options, playbook))


def _backup(cluster: Cluster, options: Options, listener: Listener) -> str:
    """A backup that is read back and proven; its name, or nothing if none was wanted."""
    if options.no_backup:
        return ""
    taken = backup.backup(cluster, backup.Options(cluster.spec.backup_store, options.sealing), listener)
    return taken.sidecar.name


def _write(cluster: Cluster, found: UpgradePlan, options: Options) -> Path | None:
    """The inventory names what runs, once all nodes have it."""
    wanted = needed(cluster, found.target)
    if not wanted or options.only or found.left:
        return None
    return write_versions(cluster.inventory, wanted)
