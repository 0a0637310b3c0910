"""`cpkit backup schedule`: backups that the nodes take by themselves."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpkit.cli.changing import DryRunOption, YesOption, cluster_of, confirming, result, view_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples

if TYPE_CHECKING:
    from cpkit.facts.host import Schedule
    from cpkit.facts.snapshot import Snapshot
    from cpkit.inventory import Cluster
    from cpkit.operations.schedule import Result

EXAMPLES = examples(
    "cpkit backup schedule -i prod --dry-run --diff",
    "cpkit backup schedule -i prod --yes",
    "cpkit backup schedule -i prod --status",
    note="In the inventory, beside backup_store and backup_recipients: `backup_schedule_at: hourly`",
)


def schedule(
    inventory: InventoryOption,
    *,
    status: Annotated[bool, typer.Option("--status", help="Only show the schedule, and how it goes.")] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show how files would change.")] = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have the control-plane nodes take backups by themselves, as the inventory's backup_schedule_at says.

    Each node has a timer. Under a lock in etcd one of them takes each backup, and another one when it fails; what was
    missed while all were down is made up for. Backups are sealed on the node for backup_recipients and go into
    backup_schedule_store: an SFTP server, or a directory that all nodes mount.

    With backup_schedule_at empty or left out, the schedule is taken away. A second run changes nothing.
    """
    from cpkit.facts.collect import collect
    from cpkit.operations.schedule import Options
    from cpkit.operations.schedule import schedule as operation

    cluster = cluster_of(inventory, ask_become_pass)
    if status:
        _status(cluster, output)
        return
    password = cluster.control_plane[0].ssh.become_password if ask_become_pass else ""
    view = view_of(output)
    try:
        done = operation(cluster, Options(dry_run, diff, password), view, confirm=confirming(view, yes=yes))
    finally:
        view.pause()
    rows = [] if dry_run or not done.calendar or output is Output.JSON else ["", _table(collect(cluster))]
    text = "\n".join([_summary(cluster.name, inventory, done, dry_run=dry_run), *rows])
    result(output, text, dry_run=dry_run, **asdict(done))


def _summary(name: str, inventory: str, done: "Result", *, dry_run: bool) -> str:
    if not done.nodes:
        what = "is as the inventory asks" if done.calendar else "does not exist, and the inventory asks for none"
        lines = [f"{name}: the schedule of backups {what}. Nothing was changed."]
        hint = "To have one, set backup_schedule_at in the inventory, for example: backup_schedule_at: hourly"
        return "\n".join([*lines, *([] if done.calendar else [hint])])
    nodes = ", ".join(done.nodes)
    if dry_run:
        what = f"would be set to {done.calendar}" if done.calendar else "would be taken away"
        return f"{name}: the schedule {what} on {nodes}. Dry run: nothing was changed.\nWithout cpkit: {done.command}"
    what = f"set to {done.calendar} on {nodes}" if done.calendar else f"taken away from {nodes}; backups stay"
    lines = [f"{name}: the schedule of backups is {what}, {done.seconds:.1f} s."]
    if done.calendar:
        lines += [f"How it goes: cpkit backup schedule -i {inventory} --status, and in cpkit health"]
    return "\n".join([*lines, f"Without cpkit: {done.command}", f"Run directory: {done.directory}"])


def _status(cluster: "Cluster", output: Output) -> None:
    from cpkit.facts.collect import collect
    from cpkit.health import exit_code, judge

    snapshot = collect(cluster)
    findings = judge(snapshot, ["backup.schedule"])
    if output is Output.JSON:
        import json

        nodes = {name: _known(facts.host.backup) for name, facts in snapshot.control_plane.items() if facts.host}
        told = {"cluster": cluster.name, "nodes": nodes, "findings": [asdict(each) for each in findings]}
        typer.echo(json.dumps(told, indent=2))
    else:
        typer.echo(_table(snapshot))
        for each in findings:
            typer.echo(f"{each.level:7} {each.node or 'cluster'}: {each.text}")
            if each.hint:
                typer.echo(f"        {each.hint}")
    raise typer.Exit(exit_code(findings))


def _known(found: "Schedule | None") -> dict[str, Any] | None:
    return asdict(found) if found else None


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
