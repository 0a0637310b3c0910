"""`cpkit preflight`: check machines before anything is changed on them."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import cluster_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, new_app

if TYPE_CHECKING:
    from cpkit.operations.preflight import PreflightReport

app = new_app()

IgnoreOption = Annotated[
    list[str] | None,
    typer.Option("--ignore", metavar="NAME[,NAME]", help="Checks that count for nothing; may be given several times."),
]


@app.command(epilog=examples("cpkit preflight -i prod", "cpkit preflight -i prod --ignore memory,cpu -o json"))
def preflight(
    inventory: InventoryOption,
    *,
    ignore: IgnoreOption = None,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check machines before anything is changed on them: every check on every node, each with its fix.

    Nothing is installed and nothing stays behind: ports are opened for a moment so that the other nodes can dial
    them, and 5 MB go to a nameless file to measure etcd's disk.

    Exits with 0 when nothing stands in the way, 3 when something failed, 4 when a node could not be looked into.
    """
    from cpkit.operations.preflight import refuse_unknown, run

    ignored = frozenset(name.strip() for names in ignore or () for name in names.split(",") if name.strip())
    refuse_unknown(ignored)
    cluster = cluster_of(inventory, ask_become_pass)
    with _progress() as progress:
        report = run(cluster, ignore=ignored, progress=progress)
    _show(report, output)
    raise typer.Exit(report.exit_code)


def _show(report: "PreflightReport", output: Output) -> None:
    from rich.console import Console

    from cpkit.ui.preflight import as_json, render

    if output is Output.JSON:
        typer.echo(json.dumps(as_json(report), indent=2, ensure_ascii=False))
    else:
        Console(highlight=False).print(render(report))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that follows the work; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("reading the inventory") as status:
        yield status.update
