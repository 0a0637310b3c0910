"""`cpkit runs`: what earlier runs did, how they ended, and a page that draws it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.options import InventoryOption, Output, OutputOption, examples, new_app

if TYPE_CHECKING:
    from cpkit.runs import Record

app = new_app(
    """What earlier runs did, how they ended, and a page that draws it.

Every changing command leaves a run directory on this machine; also one that was killed is found here."""
)
RunArgument = Annotated[
    str, typer.Argument(metavar="[RUN]", help="The run's name, or how it begins.", show_default="the newest")
]


@app.command(
    name="list",
    epilog=examples("cpkit runs list", "cpkit runs list -i prod --limit 5", "cpkit runs list -i prod -o json"),
)
def list_(
    inventory: InventoryOption = "",
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many; 0 for all.")] = 20,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the runs of a cluster, or of all clusters, newest first, and how each ended.

    *cut off* is a run whose process died before it could say how it ended; *going on* is one that holds the lock now.
    """
    from cpkit.cli.runs_view import table_of
    from cpkit.runs import listed, runs_of

    cluster = _cluster(inventory)
    typer.echo(table_of(listed(cluster, limit), len(runs_of(cluster)), cluster, output))


@app.command(
    epilog=examples("cpkit runs show", "cpkit runs show 20261124T225607 -i prod", "cpkit runs show -i prod -o json")
)
def show(run: RunArgument = "", inventory: InventoryOption = "", *, output: OutputOption = Output.TABLE) -> None:
    """Show one run: its steps, its turns on nodes, how the API did meanwhile, and what went wrong."""
    from cpkit.cli.runs_view import shown

    typer.echo(shown(_found(run, inventory), output))


@app.command(
    epilog=examples("cpkit runs report -i prod", "cpkit runs report 20261124T225607 --output /tmp/upgrade.html")
)
def report(
    run: RunArgument = "",
    inventory: InventoryOption = "",
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to.", show_default="report.html beside the journal"),
    ] = None,
) -> None:
    """Draw a run as one HTML page: what was done to each node and how the API did, over time.

    The page needs no network and no script. Upgrades and rotations write it by themselves.
    """
    from cpkit.errors import UsageError
    from cpkit.runs import PAGE, draw

    found = _found(run, inventory)
    path = output or found.directory / PAGE
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint=f"Name a file: --output {path / PAGE}")
    typer.echo(f"Report: {draw(found, path)}")


def _found(run: str, inventory: str) -> "Record":
    from cpkit.runs import find

    return find(run, _cluster(inventory))


def _cluster(inventory: str) -> str:
    """The name of the cluster an inventory describes; a cluster whose inventory is gone is found by its name."""
    from cpkit.errors import UsageError
    from cpkit.inventory import load
    from cpkit.runs import runs_of

    if not inventory:
        return ""
    try:
        return load(inventory).name
    except UsageError:
        if inventory in {directory.parent.parent.name for directory in runs_of()}:
            return inventory
        raise
