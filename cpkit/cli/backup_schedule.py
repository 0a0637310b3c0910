"""`cpkit backup schedule`: backups that the nodes take by themselves."""

from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import cluster_and_password
from cpkit.cli.options import InventoryOption, Output, examples
from cpkit.cli.timer import Asked, Words, set_timer, show_status, tell
from cpkit.cli.unfolding import unfolded

if TYPE_CHECKING:
    from cpkit.facts.snapshot import Snapshot

EXAMPLES = examples(
    "cpkit backup schedule -i prod --dry-run --diff",
    "cpkit backup schedule -i prod --yes",
    "cpkit backup schedule -i prod --status",
    note="In the inventory, beside backup_store and backup_recipients: `backup_schedule_at: hourly`",
)


@unfolded
def schedule(
    inventory: InventoryOption,
    *,
    status: Annotated[bool, typer.Option("--status", help="Only show the schedule, and how it goes.")] = False,
    asked: Asked,
) -> None:
    """Have the control-plane nodes take backups by themselves, as the inventory's backup_schedule_at says.

    Each node has a timer. Under a lock in etcd one of them takes each backup, and another one when it fails; what was
    missed while all were down is made up for. Backups are sealed on the node for backup_recipients and go into
    backup_schedule_store: an SFTP server, S3, or a directory that all nodes mount.

    With backup_schedule_at empty or left out, the schedule is taken away. A second run changes nothing.
    """
    from cpkit.facts.collect import collect
    from cpkit.operations.backup_schedule import backup_timer

    cluster, password = cluster_and_password(inventory, asked.ask_become_pass)
    if status:
        raise typer.Exit(
            show_status(cluster, "backup.schedule", asked.output, part=lambda host: host.backup, table=_table)
        )
    done = set_timer(cluster, backup_timer(cluster), asked, password)
    shown = done.calendar and not asked.dry_run and asked.output is not Output.JSON
    tell(cluster.name, done, _words(inventory), asked, also=_table(collect(cluster)) if shown else "")


def _words(inventory: str) -> Words:
    return Words(
        as_asked="the schedule of backups is as the inventory asks",
        none="the schedule of backups does not exist, and the inventory asks for none",
        short="the schedule",
        full="the schedule of backups is",
        status=f"cpkit backup schedule -i {inventory} --status, and in cpkit health",
        removed="; backups stay",
        hint="To have one, set backup_schedule_at in the inventory, for example: backup_schedule_at: hourly",
    )


def _table(snapshot: "Snapshot") -> str:
    from cpkit.cli.backup_view import at, table

    rows = []
    for name, facts in snapshot.control_plane.items():
        found = facts.host.backup if facts.host else None
        if found is None:
            rows.append((name, "not known" if facts.host is None else "none", "", "", "", "", ""))
            continue
        last = found.record.name if found.record else "-"
        rows.append((name, found.calendar, found.timer, found.outcome, at(found.at), at(found.next), last))
    return table(("NODE", "SCHEDULE", "TIMER", "OUTCOME", "LAST RUN", "NEXT DUE", "LAST BACKUP"), rows)
