"""`cpkit plan`: what differs between the inventory and the nodes, and what would be done about it."""

import json
from typing import Annotated

import typer

from cpkit.cli.changing import cluster_and_password
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, names, new_app

app = new_app()
DRIFT = 2  # as a script expects of what compares
OnlyOption = Annotated[
    list[str] | None, typer.Option("--only", metavar="NODE[,NODE]", help="Look at these nodes, and leave the others.")
]


@app.command(
    epilog=examples(
        "cpkit plan -i prod",
        "cpkit plan -i prod --only cp1",
        "cpkit plan -i prod -o json",
        note="Exit code: 0 no node differs, 2 some do, 3 there is no such cluster, 4 something is not known. Examples:",
    )
)
def plan(
    inventory: InventoryOption,
    *,
    only: OnlyOption = None,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Compare every node with the inventory, and show what differs and what would be done; changes nothing.

    The roles themselves look, without laying anything down, so whatever they lay down is compared: files, units, the
    flags that processes run with, links, binaries, leaves, on control-plane nodes and balancers. It does not matter
    whether the inventory was changed or a node. What cannot be changed in place is named, with what does it instead.
    """
    from rich.console import Console

    from cpkit.cli.fetching import listener
    from cpkit.operations.drift import Options, look
    from cpkit.ui.drift import page, to_json
    from cpkit.ui.run import TextView

    cluster, password = cluster_and_password(inventory, ask_become_pass)
    found = look(cluster, Options(names(only), become_password=password), TextView(listener())).plan
    if output is Output.JSON:
        typer.echo(json.dumps(to_json(found), indent=2))
    else:
        Console(highlight=False).print(page(found), soft_wrap=True)
    raise typer.Exit(DRIFT if found.drifted else 0)
