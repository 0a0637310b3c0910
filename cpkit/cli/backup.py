"""`cpkit backup`: take, list, show, verify and prune backups of a cluster."""

from pathlib import Path
from typing import Annotated

import typer

from cpkit.cli import backup_diff, backup_objects, backup_stream
from cpkit.cli.backup_options import (
    IdentityOption,
    IntoOption,
    KeepDailyOption,
    KeepLastOption,
    KeepMonthlyOption,
    KeepWeeklyOption,
    MemberOption,
    OutOfOption,
    PassphraseFileOption,
    Seal,
    location,
    opening,
    policy,
    sealing,
    spec_of,
)
from cpkit.cli.backup_sandbox import DrillOption, ScratchOption
from cpkit.cli.backup_schedule import EXAMPLES as SCHEDULE_EXAMPLES
from cpkit.cli.backup_schedule import schedule
from cpkit.cli.changing import cluster_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, new_app
from cpkit.cli.unfolding import unfolded
from cpkit.errors import Exit, UsageError

app = new_app("Take, schedule, list, verify and prune backups of a cluster, and follow it between them.")
NameArgument = Annotated[str, typer.Argument(help="The backup's name, or latest.")]


@app.command(
    name="etcd",
    epilog=examples(
        "cpkit backup etcd -i prod",
        "cpkit backup etcd -i prod --store /srv/backups -r age1…",
        "cpkit backup etcd -i prod --store 's3://backups/prod?endpoint=https://s3.example.org'",
    ),
)
@unfolded
def take(
    inventory: InventoryOption,
    *,
    to: IntoOption = "",
    seal: Seal,
    include_keys_in_clear: Annotated[
        bool, typer.Option("--include-keys-in-clear", help="With --no-encrypt: put the private keys in all the same.")
    ] = False,
    member: MemberOption = "",
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a backup: etcd's database, the PKI, the encryption keys, versions, settings and the inventory, in one file.

    It streams from the most caught-up voter through SSH into the store, sealed on the way; no plaintext touches a
    disk. It is verified as it passes, read back from the store, and only then listed. It needs no quorum.
    """
    from cpkit.artifacts import Silent
    from cpkit.cli.backup_view import taken
    from cpkit.operations.backup import Options, backup
    from cpkit.ui.run import TextView

    if include_keys_in_clear and not seal.no_encrypt:
        raise UsageError("--include-keys-in-clear goes with --no-encrypt only")
    cluster = cluster_of(inventory, ask_become_pass)
    key = sealing(cluster.spec.backup_recipients, seal)
    options = Options(location(to, cluster.spec), key, member, include_keys_in_clear)
    view = TextView(Silent())
    try:
        result = backup(cluster, options, view)
    finally:
        view.pause()
    typer.echo(taken(result, options.location, output))


@app.command(
    name="list", epilog=examples("cpkit backup list -i prod", "cpkit backup list --store /srv/backups -o json")
)
def list_(
    inventory: InventoryOption = "",
    *,
    to: OutOfOption = "",
    everything: Annotated[bool, typer.Option("--all", "-a", help="Backups of every cluster in the store.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the backups in a store, newest first, and what is there that is none."""
    from cpkit.backup import catalogue, open_store
    from cpkit.cli.backup_view import listed

    spec = spec_of(inventory)
    cluster = spec.cluster_name if spec else ""
    with open_store(location(to, spec)) as store:
        found = catalogue.read(store, "" if everything else cluster)
        typer.echo(listed(found, str(store), output))


@app.command(epilog=examples("cpkit backup show latest -i prod", "cpkit backup show latest -i prod -o json"))
def show(
    name: NameArgument,
    inventory: InventoryOption = "",
    *,
    to: OutOfOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what is known of a backup without opening it."""
    from cpkit.backup import catalogue, chain, open_store
    from cpkit.cli.backup_view import shown

    spec = spec_of(inventory)
    cluster = spec.cluster_name if spec else ""
    with open_store(location(to, spec)) as store:
        sidecar = catalogue.find(store, name, cluster)
        typer.echo(shown(sidecar, output, chain.find(store, sidecar)))


@app.command(
    epilog=examples(
        "cpkit backup verify latest -i prod --identity ~/backup.key",
        "cpkit backup verify --all --store /srv/backups --passphrase-file /run/secrets/backup",
        "cpkit backup verify latest -i prod --identity ~/backup.key --drill",
    )
)
def verify(
    name: Annotated[str, typer.Argument(help="The backup's name, or latest.")] = "",
    inventory: InventoryOption = "",
    *,
    to: OutOfOption = "",
    everything: Annotated[bool, typer.Option("--all", "-a", help="Every backup, one after the other.")] = False,
    identity: IdentityOption = None,
    passphrase_file: PassphraseFileOption = None,
    drill: DrillOption = False,
    scratch: ScratchOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Read a backup wholly and prove it: decryption, every checksum, etcd's own trailer, the database's structure.

    With --drill it is also brought back: a throw-away etcd and API server on this machine, in memory and on loopback
    alone, must hold the very keys that the cluster's members hashed, as many of each resource, and Secrets that can be
    decrypted. The receipt says how long it took. Nothing of it is left, and the cluster is not asked.

    What is proven is noted beside the backup, with the time. Exit code 3 when one is damaged.
    """
    from cpkit.backup import catalogue, open_store
    from cpkit.cli.backup_drill import drills
    from cpkit.cli.backup_view import verified
    from cpkit.cli.progress import metered
    from cpkit.operations import backups

    if scratch and not drill:
        raise UsageError("--scratch goes with --drill only")
    if bool(name) == everything:
        raise UsageError("name a backup, or pass --all", hint="The newest one is called latest.")
    spec = spec_of(inventory)
    cluster = spec.cluster_name if spec else ""
    with open_store(location(to, spec)) as store:
        wanted = catalogue.read(store, cluster).backups if everything else (catalogue.find(store, name, cluster),)
        key = opening(wanted, identity, passphrase_file)
        if drill:
            raise typer.Exit(drills(store, wanted, key, scratch, output))
        verdicts = []
        for sidecar in wanted:
            with metered(sidecar.name, sidecar.size) as advance:
                verdicts.append(backups.verify(store, sidecar, key, advance))
    typer.echo(verified(verdicts, output))
    problems = [verdict.problem for verdict in verdicts if verdict.problem]
    if problems:
        raise typer.Exit(max(problem.code for problem in problems))


@app.command(
    epilog=examples(
        "cpkit backup prune -i prod --dry-run",
        "cpkit backup prune -i prod --keep-last 7 --keep-weekly 4 --keep-monthly 12",
    )
)
def prune(
    inventory: InventoryOption = "",
    *,
    to: OutOfOption = "",
    keep_last: KeepLastOption = None,
    keep_daily: KeepDailyOption = None,
    keep_weekly: KeepWeeklyOption = None,
    keep_monthly: KeepMonthlyOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete the backups that no rule keeps, and what uploads left behind.

    The newest backup that was verified is kept whatever the rules say.
    """
    from cpkit.backup import catalogue, open_store
    from cpkit.cli.backup_options import confirmed
    from cpkit.cli.backup_view import pruning
    from cpkit.operations import backups

    spec = spec_of(inventory)
    cluster = spec.cluster_name if spec else ""
    rules = policy(spec, keep_last, keep_daily, keep_weekly, keep_monthly)
    with open_store(location(to, spec)) as store:
        found = backups.plan(store, cluster, rules, catalogue.now())
        typer.echo(pruning(found))
        if dry_run or not (found.going or found.leftovers):
            return
        if not confirmed(f"Delete {len(found.going)} backups and {len(found.leftovers)} leftovers?", yes=yes):
            raise typer.Exit(Exit.REFUSED)
        backups.prune(store, found, typer.echo)


@app.command(epilog=examples("cpkit backup key ~/backup.key"))
def key(file: Annotated[Path, typer.Argument(help="Where to write the private key; never over another file.")]) -> None:
    """Make a key for backups: the file opens them, and what is printed seals them.

    Keep the file away from the cluster and from the store: without it no backup can be opened, and with it every one
    can.
    """
    from cpkit.backup.keys import make_identity

    typer.echo(make_identity(file.expanduser()))


app.registered_commands.extend(backup_stream.app.registered_commands)
app.registered_commands.extend(backup_objects.app.registered_commands)
app.registered_commands.extend(backup_diff.app.registered_commands)
app.command(name="schedule", epilog=SCHEDULE_EXAMPLES)(schedule)
