"""Reset: a cluster is taken down; a proven backup first, everything moved aside, nothing deleted."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from cpkit import ansible
from cpkit.backup import Sealing
from cpkit.errors import Refused, Unreachable, UsageError
from cpkit.facts.snapshot import Snapshot
from cpkit.health.quorum import join
from cpkit.inventory import Cluster
from cpkit.journal import open_run, owner
from cpkit.operations import backup
from cpkit.operations.interrupting import interruptible
from cpkit.operations.listener import Confirm, Listener, stepping
from cpkit.operations.members import refuse_locked
from cpkit.operations.node_checks import look_well
from cpkit.operations.plays import Plays

OPERATION = "reset"
ASIDE = "/var/lib/cpkit/aside"  # role retire makes a dated folder in it


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    no_backup: bool = False
    lost: frozenset[str] = frozenset()  # nodes that cannot be reached, and are left as they are
    sealing: Sealing = field(default=None, repr=False)
    dry_run: bool = False
    become_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Result:
    """How it ended."""

    plan: str
    done: bool = False
    backup: str = ""
    seconds: float = 0.0
    directory: Path | None = None
    command: str = ""


def reset(cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm) -> Result:
    """Stop a cluster and move all of it aside; machines that were done already are left as they are."""
    ansible.program()
    if strangers := sorted(options.lost - {node.name for node in cluster.nodes}):
        raise UsageError(f"{strangers[0]!r} is not in the inventory", hint=f"It names {_names(cluster)}.")
    refuse_locked(cluster)
    snapshot = look_well(cluster, options.lost, etcd=False)
    _refuse_silent(snapshot, options)
    _refuse_without_backup(cluster, snapshot, options)
    play = _play(cluster, options)
    command = ansible.equivalent(play)
    plan = describe(snapshot, options)
    if options.dry_run:
        return Result(plan, command=command)
    if not confirm(plan):
        raise Refused("not confirmed", hint="Nothing was changed.")
    saved = ""
    if _serves(snapshot) and not options.no_backup:
        taken = backup.backup(cluster, backup.Options(cluster.spec.backup_store, options.sealing), listener)
        saved = taken.sidecar.name
    with open_run(cluster.name, OPERATION) as run, interruptible(run):
        with stepping(run, listener)("Stop everything, and move it aside"):
            Plays(run, listener).apply(play)
        run.report(backup=saved, lost=sorted(options.lost), command=command)
        return Result(plan, True, saved, time.time() - run.started, run.directory, command)


def describe(snapshot: Snapshot, options: Options) -> str:
    """The plan in lines."""
    left = [f"  {name}: cannot be reached, and is left as it is" for name in sorted(options.lost)]
    nodes = [name for name in snapshot.nodes if name not in options.lost]
    what = "no backup is taken" if options.no_backup or not _serves(snapshot) else "a backup is taken and proven first"
    return "\n".join(
        [
            f"This takes the cluster {snapshot.plan.cluster} down: no API, no etcd, and no way back by itself.",
            f"  {what}",
            f"  {join(nodes)}: services stop, and everything is moved to a dated folder in {ASIDE}",
            *left,
        ]
    )


def _serves(snapshot: Snapshot) -> bool:
    """Whether a member is left that a backup could be taken of."""
    return any(not status.error for status in snapshot.etcd.statuses.values())


def _refuse_silent(snapshot: Snapshot, options: Options) -> None:
    silent = [name for name, facts in snapshot.nodes.items() if facts.host is None and name not in options.lost]
    if silent:
        facts = snapshot.nodes[silent[0]]
        raise Unreachable(
            f"it cannot be reached: {facts.error}",
            node=silent[0],
            hint=f"It would go on alone. Bring it back, or leave it as it is: --lost {','.join(silent)}",
        )


def _refuse_without_backup(cluster: Cluster, snapshot: Snapshot, options: Options) -> None:
    if _serves(snapshot) and not options.no_backup and not cluster.spec.backup_store:
        raise Refused(
            "everything would be gone from service without a backup: none is configured",
            hint="Set backup_store and backup_recipients in the inventory, or pass --no-backup if nobody needs it.",
        )


def _play(cluster: Cluster, options: Options) -> ansible.Play:
    limit = ":".join(["all", *(f"!{name}" for name in sorted(options.lost))]) if options.lost else ""
    variables = {"claim_owner": owner()}
    return ansible.Play(
        "reset.yml", cluster.inventory, limit=limit, variables=variables, become_password=options.become_password
    )


def _names(cluster: Cluster) -> str:
    return join(node.name for node in cluster.nodes)
