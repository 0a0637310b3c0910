"""`cpkit restore`: bring a cluster back from a backup."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.backup_options import IdentityOption, OutOfOption, PassphraseFileOption, location, opening
from cpkit.cli.changing import ConfirmOption, DryRunOption, cluster_and_password, confirming_by_name, result, view_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, new_app
from cpkit.errors import CpkitError, UsageError

if TYPE_CHECKING:
    from cpkit.inventory import Cluster
    from cpkit.operations.listener import Listener
    from cpkit.operations.restore_run import Result

app = new_app("""Bring a cluster back from a backup.""")
BackupOption = Annotated[str, typer.Option("--backup", "-b", metavar="NAME", help="The backup's name, or latest.")]
ToRevisionOption = Annotated[
    int | None, typer.Option("--to-revision", min=1, metavar="N", help="Go back to this revision of etcd, by a stream.")
]
ToTimeOption = Annotated[
    str,
    typer.Option("--to-time", metavar="TIME", help="Go back to what was received by then, like 2031-05-06T07:08:09Z."),
]
LostOption = Annotated[
    list[str] | None,
    typer.Option("--lost", metavar="NODE", help="A node that is gone for good, and never comes back; repeatable."),
]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OLD=NEW,…",
        help="Whose place each machine takes, where the backup is of others: its node, then one of the inventory's, "
        "by name or address; repeatable.",
    ),
]
AbortOption = Annotated[
    bool, typer.Option("--abort", help="Go back to the old data, as long as etcd has not started on the new.")
]


@app.callback()
def group() -> None:
    """Bring a cluster back from a backup."""


@app.command(
    name="etcd",
    epilog=examples(
        "cpkit restore etcd -i prod --store /srv/backups --backup latest --identity ~/backup.key --dry-run",
        "cpkit restore etcd -i prod --identity ~/backup.key",
        "cpkit restore etcd -i prod --to-time 2031-05-06T07:08:09Z --identity ~/backup.key",
        "cpkit restore etcd -i new --backup prod-20310506T070809Z-r42 --map cp1=10.0.0.21,cp2=10.0.0.22,cp3=10.0.0.23",
        "cpkit restore etcd -i prod --abort",
    ),
)
def etcd(
    inventory: InventoryOption,
    *,
    store: OutOfOption = "",
    backup: BackupOption = "latest",
    to_revision: ToRevisionOption = None,
    to_time: ToTimeOption = "",
    identity: IdentityOption = None,
    passphrase_file: PassphraseFileOption = None,
    confirm: ConfirmOption = "",
    abort: AbortOption = False,
    place_of: MapOption = None,
    lost: LostOption = None,
    dry_run: DryRunOption = False,
    no_backup: Annotated[bool, typer.Option("--no-backup", help="Take no new backup afterwards.")] = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Restore etcd on all control-plane nodes at once, or finish a restore that was cut off.

    Everything is checked before anything stops: the backup to its last byte, keys, versions, disks, every node. The
    snapshot is decrypted on its way to the nodes. Old data is moved aside, never deleted. No member starts on the new
    data before every member has it. The same command goes on after whatever cut it off; --abort goes back.

    With --to-revision or --to-time, the stream of `cpkit backup stream` is replayed onto the backup first, in this
    machine's memory, and taken only if it hashes as etcd's members did.
    """
    from cpkit.backup import open_store
    from cpkit.backup.catalogue import LATEST
    from cpkit.backup.moment import Wish, parse_time
    from cpkit.operations import restore as operation
    from cpkit.operations import restore_abort, restore_places
    from cpkit.operations.restore_run import Options
    from cpkit.watch import Watch

    if to_revision and to_time:
        raise UsageError("--to-revision and --to-time exclude one another")
    wish = Wish(to_revision or 0, parse_time(to_time) if to_time else None)
    cluster, password = cluster_and_password(inventory, ask_become_pass)
    view = view_of(output)
    asking = confirming_by_name(view, cluster.name, confirm)
    gone = frozenset(lost or ())
    if abort:
        back = restore_abort.abort(cluster, view, confirm=asking, lost=gone, become_password=password)
        result(output, f"{cluster.name} is back on the data it had before.", **asdict(back))
        return
    places = restore_places.read_places(cluster, place_of or ())
    place = location(store, cluster.spec)
    with open_store(place) as opened:
        sidecar = restore_places.choose(opened, backup, cluster, places)
    key = opening((sidecar,), identity, passphrase_file)
    options = Options(place, sidecar, key, backup != LATEST, dry_run, gone, places, password, wish)
    try:
        done = operation.restore(cluster, options, view, confirm=asking, watch=Watch)
    finally:
        view.pause()
    if dry_run:
        result(output, "\nDry run: everything was checked, nothing was changed.", **asdict(done))
        return
    fresh = "" if no_backup else _new_backup(cluster, place, view)
    result(output, summary(cluster, done, fresh), **asdict(done), new_backup=fresh)


def _new_backup(cluster: "Cluster", place: str, listener: "Listener") -> str:
    """Take a backup of what was restored, if the inventory says whom to seal it for; its name."""
    from cpkit.backup import keys
    from cpkit.operations.backup import Options, backup

    if not cluster.spec.backup_recipients:
        listener.say("the inventory names no backup_recipients, so no new backup was taken")
        return ""
    try:
        sealed = keys.recipients(cluster.spec.backup_recipients)
        return backup(cluster, Options(place, sealed), listener).sidecar.name
    except CpkitError as error:
        listener.say(f"the restore is done, but no new backup could be taken: {error}")
        return ""


def summary(cluster: "Cluster", done: "Result", fresh: str) -> str:
    """How a restore ended, in words."""
    lines = [
        f"\n{cluster.name} is restored from {done.backup} and healthy. {done.seconds:.1f} s",
        f"  revision {done.revision} of the backup, {done.now} now; clients list anew",
    ]
    lines += [f"  API meanwhile: {done.availability}"] if done.availability else []
    lines += [f"  the old data is kept: {place}" for place in done.aside]
    lines += [f"  a new backup: {fresh}"] if fresh else ["  Take a new backup: cpkit backup etcd"]
    return "\n".join([*lines, f"Run directory: {done.directory}"])
