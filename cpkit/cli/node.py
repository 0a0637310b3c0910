"""`cpkit node`: add, remove and replace control-plane nodes of a running cluster."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpkit.cli.changing import DryRunOption, YesOption, cluster_and_password, confirming, result
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, names, new_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpkit.operations.node_run import Options, Result

app = new_app(
    """Add, remove and replace control-plane nodes of a running cluster, from 1 to 7, with no failed request.

One member of etcd changes at a time, a new one has no vote before it has caught up, and what would lose quorum is
refused, whatever the flags. The inventory follows. A run that was cut off is taken up by the same command."""
)
NodesArgument = Annotated[list[str], typer.Argument(metavar="NODE...", help="Names of the inventory.")]
DegradedOption = Annotated[
    bool, typer.Option("--allow-degraded", help="Go on while other nodes are down; never below quorum.")
]
IgnoreOption = Annotated[
    list[str] | None, typer.Option("--ignore", metavar="NAME[,NAME]", help="Preflight checks that count for nothing.")
]


@app.command(
    epilog=examples(
        "cpkit node add -i prod cp4=10.0.0.14 cp5=10.0.0.15", "cpkit node add -i prod cp4=10.0.0.14 --dry-run"
    )
)
def add(
    inventory: InventoryOption,
    nodes: Annotated[list[str], typer.Argument(metavar="NODE=ADDRESS...", help="Machines to make nodes of.")],
    *,
    ignore: IgnoreOption = None,
    allow_degraded: DegradedOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add control-plane nodes, and write them into the inventory.

    The machines are checked first; one that is in the inventory already is named without its address. Each becomes a
    learner of etcd and then a voter; then its API server and controllers start, the balancers are told of it, and every
    API server is told of the new members, one after the other.
    """
    from cpkit.operations.node_add import add as operation
    from cpkit.operations.node_run import Options

    options = Options(
        tuple(nodes),
        allow_degraded=allow_degraded,
        ignore=names(ignore),
        dry_run=dry_run,
    )
    _carry_out(operation, inventory, options, output, ask=ask_become_pass, yes=yes)


@app.command(epilog=examples("cpkit node remove -i prod cp5 cp4", "cpkit node remove -i prod cp3 --dry-run"))
def remove(
    inventory: InventoryOption,
    nodes: NodesArgument,
    *,
    allow_degraded: DegradedOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take control-plane nodes out of the cluster, dead or alive, and out of the inventory.

    On a node that answers, services are stopped and everything is moved aside, nothing is deleted. Those that leave
    together have to leave a majority of the present members behind.
    """
    from cpkit.operations.node_remove import remove as operation
    from cpkit.operations.node_run import Options

    options = Options(tuple(dict.fromkeys(nodes)), allow_degraded=allow_degraded, dry_run=dry_run)
    _carry_out(operation, inventory, options, output, ask=ask_become_pass, yes=yes)


@app.command(
    epilog=examples(
        "cpkit node replace -i prod cp2",
        "cpkit node replace -i prod cp2 --address 10.0.0.32",
        "cpkit node replace -i prod cp2 --abandon-data",
    )
)
def replace(
    inventory: InventoryOption,
    node: Annotated[str, typer.Argument(metavar="NODE", help="A name of the inventory.")],
    *,
    address: Annotated[
        str, typer.Option("--address", metavar="ADDRESS", help="Of the machine that takes its place, if another one.")
    ] = "",
    abandon_data: Annotated[
        bool, typer.Option("--abandon-data", help="Even though etcd's data is there: it is moved aside.")
    ] = False,
    ignore: IgnoreOption = None,
    allow_degraded: DegradedOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give the place of a node whose machine or disk is gone to a machine of the same name.

    The dead member is taken out of etcd first; the old machine need not answer, and must not. Then the new one joins as
    it would by `cpkit node add`. A node that serves is not replaced.
    """
    from cpkit.operations.node_replace import replace as operation
    from cpkit.operations.node_run import Options

    options = Options(
        (node,),
        address,
        abandon_data=abandon_data,
        allow_degraded=allow_degraded,
        ignore=names(ignore),
        dry_run=dry_run,
    )
    _carry_out(operation, inventory, options, output, ask=ask_become_pass, yes=yes)


def _carry_out(
    operation: "Callable[..., Result]", inventory: str, options: "Options", output: Output, *, ask: bool, yes: bool
) -> None:
    from cpkit.operations.node_run import Ask
    from cpkit.watch import Watch

    cluster, password = cluster_and_password(inventory, ask)
    options = dataclasses.replace(options, become_password=password)
    view = _view(output)
    try:
        done = operation(cluster, options, Ask(view, confirming(view, yes=yes), Watch))
    finally:
        view.pause()
    fields = {"summary": done.summary, "availability": done.availability, "remarks": done.remarks}
    result(output, _text(done, options), changed=done.done, **fields, directory=done.directory)


def _view(output: Output) -> Any:
    from cpkit.cli.fetching import listener
    from cpkit.ui.run import JsonView, TextView

    return JsonView() if output is Output.JSON else TextView(listener())


def _text(done: "Result", options: "Options") -> str:
    if not done.done:
        return f"{done.plan}\n\nDry run: nothing was changed." if options.dry_run else done.plan
    lines = [f"\n{done.cluster}: {done.summary}. {done.seconds:.1f} s", f"API meanwhile: {done.availability}"]
    return "\n".join([*lines, *done.remarks, f"Run directory: {done.directory}"])
