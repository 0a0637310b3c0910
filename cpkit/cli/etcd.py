"""`cpkit etcd`: look at etcd's members, and keep them fit."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpkit.cli import etcd_recover, etcd_upkeep
from cpkit.cli.changing import cluster_of, result, view_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, new_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from cpkit.facts.snapshot import Snapshot
    from cpkit.health import Finding

app = new_app(
    """Look at etcd's members, and keep them fit.

Each member is asked on its own, through SSH and with the node's own certificate, so looking works without quorum."""
)
CODES = "Exit code: 0 well, 3 not well, 4 not known. Examples:"


@app.command(epilog=examples("cpkit etcd members -i prod", "cpkit etcd members -i prod -o json", note=CODES))
def members(
    inventory: InventoryOption, *, ask_become_pass: AskBecomePassOption = False, output: OutputOption = Output.TABLE
) -> None:
    """List the members: which node each lives on, who votes, who leads, and who is a stranger."""
    from cpkit.ui.etcd import members_json, members_page

    names = ("etcd.quorum", "etcd.members", "etcd.leader")
    _look(inventory, output, names, members_page, members_json, ask=ask_become_pass)


@app.command(epilog=examples("cpkit etcd status -i prod", "cpkit etcd status -i prod -o json", note=CODES))
def status(
    inventory: InventoryOption, *, ask_become_pass: AskBecomePassOption = False, output: OutputOption = Output.TABLE
) -> None:
    """Say how each member is: version, size, quota, lag, term and alarms, and whether all hold the same keys."""
    from cpkit.health import CHECKS
    from cpkit.ui.etcd import status_json, status_page

    names = tuple(name for name in CHECKS if name.startswith("etcd."))
    _look(inventory, output, names, status_page, status_json, ask=ask_become_pass)


@app.command(epilog=examples("cpkit etcd alarms -i prod", "cpkit etcd alarms -i prod --disarm", note=CODES))
def alarms(
    inventory: InventoryOption,
    *,
    disarm: Annotated[bool, typer.Option("--disarm", help="Take back those whose reason is gone.")] = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the alarms that are raised; an alarm NOSPACE means that etcd takes no writes (cpkit etcd recover-space)."""
    from cpkit.errors import Exit
    from cpkit.health.members import membership
    from cpkit.operations import etcd as operation
    from cpkit.operations.members import changing, over_ssh

    cluster, complete = cluster_of(inventory, ask_become_pass), True
    if disarm:
        view = view_of(output)
        with changing(cluster, "etcd-disarm", view) as change, change.step("Take the alarms back"):
            raised = operation.disarm(change.members)
            change.run.report(disarmed=[asdict(alarm) for alarm in raised])
    else:
        reached = over_ssh(cluster)
        snapshot = reached.look()
        raised = operation.alarms(reached, snapshot)
        complete = membership(snapshot).has_quorum  # without it, each member tells only of itself
    told = "\n".join(f"{alarm.kind} on {alarm.node}{' taken back' if disarm else ''}" for alarm in raised)
    nothing = "No alarm is raised." if complete else "There is no quorum, and no member that answers tells of an alarm."
    result(output, told or nothing, alarms=[asdict(alarm) for alarm in raised], disarmed=disarm)
    if raised and not disarm:
        raise typer.Exit(Exit.REFUSED)
    raise typer.Exit(Exit.OK if complete else Exit.UNKNOWN)


@app.command(epilog=examples("cpkit etcd move-leader -i prod --to cp2"))
def move_leader(
    inventory: InventoryOption,
    *,
    to: Annotated[str, typer.Option("--to", metavar="NODE", help="Who shall lead.", show_default=False)],
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Hand etcd's leadership to a voter that has caught up; it costs no write."""
    from cpkit.operations import etcd as operation
    from cpkit.operations.members import changing

    with changing(cluster_of(inventory, ask_become_pass), "etcd-move-leader", view_of(output)) as change:
        with change.step(f"Hand leadership to {to}"):
            moved = operation.move_leader(change.members, to)
        change.run.report(handover=asdict(moved))
    text = f"{to} leads already." if moved.before == to else f"{moved.before} led, {to} leads. {moved.seconds:.2f} s"
    result(output, text, **asdict(moved))


def _look(
    inventory: str,
    output: Output,
    names: tuple[str, ...],
    page: "Callable[[Snapshot, tuple[Finding, ...]], RenderableType]",
    document: "Callable[[Snapshot, tuple[Finding, ...]], dict[str, Any]]",
    *,
    ask: bool,
) -> None:
    from cpkit.facts.collect import collect
    from cpkit.health import exit_code, judge

    snapshot = collect(cluster_of(inventory, ask))
    findings = judge(snapshot, names)
    if output is Output.JSON:
        typer.echo(json.dumps(document(snapshot, findings), indent=2))
    else:
        from rich.console import Console

        Console(highlight=False).print(page(snapshot, findings))
    raise typer.Exit(exit_code(findings))


app.registered_commands.extend(etcd_upkeep.app.registered_commands)
app.registered_commands.extend(etcd_recover.app.registered_commands)
