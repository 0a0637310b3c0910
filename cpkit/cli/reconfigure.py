"""`cpkit reconfigure`: give a running cluster what the inventory asks for, one gated node at a time."""

from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import DryRunOption, YesOption, cluster_and_password, confirming, meanwhile, result
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, names, new_app
from cpkit.errors import Exit

if TYPE_CHECKING:
    from cpkit.operations.reconfigure import Result

app = new_app()
OnlyOption = Annotated[
    list[str] | None, typer.Option("--only", metavar="NODE[,NODE]", help="Change these nodes, and leave the others.")
]


@app.command(
    epilog=examples(
        "cpkit plan -i prod",
        "cpkit reconfigure -i prod --dry-run",
        "cpkit reconfigure -i prod --yes",
        "cpkit reconfigure -i prod --only cp1",
    )
)
def reconfigure(
    inventory: InventoryOption,
    *,
    only: OnlyOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    allow_degraded: Annotated[
        bool,
        typer.Option("--allow-degraded", help="Go on while other nodes or the API are down; never below quorum."),
    ] = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change flags, feature gates, SANs, the audit policy, etcd's tuning or HAProxy's settings of a running cluster.

    Edit the inventory, look with `cpkit plan`, then run this; what was changed on a node by hand is put right the same
    way. Leaves first, without a restart; then balancers, reloaded one at a time; then etcd, every API server, and the
    controllers. Only units whose files differ are restarted, one gated node at a time, etcd's leader last.

    Flags and gates are tried on the real binaries before anything is touched. A node that does not come up with the
    new files gets those of before back, and the run stops. The first Ctrl-C stops after the node under way. A run that
    was cut off is taken up by the same command. At the end every node is compared once more.
    """
    from cpkit.cli.fetching import listener
    from cpkit.operations.drift import Options
    from cpkit.operations.reconfigure import reconfigure as operation
    from cpkit.ui.run import JsonView, TextView
    from cpkit.watch import Watch

    cluster, password = cluster_and_password(inventory, ask_become_pass)
    options = Options(names(only), dry_run, allow_degraded, password)
    view: JsonView | TextView = JsonView() if output is Output.JSON else TextView(listener())
    try:
        done = operation(cluster, options, view, confirm=confirming(view, yes=yes), watch=Watch)
    finally:
        view.pause()
    fields = {"changed": len(done.plan.changes) if done.turns or done.seconds else 0, "availability": done.availability}
    turns = [str(turn) for turn in done.turns]
    text = _summary(inventory, done, dry_run=dry_run)
    result(output, text, **fields, turns=turns, dry_run=dry_run, directory=done.directory)
    if done.plan.refusals:
        raise typer.Exit(Exit.REFUSED)


def _summary(inventory: str, done: "Result", *, dry_run: bool) -> str:
    from cpkit.drift import told
    from cpkit.health.quorum import plural
    from cpkit.runs import PAGE

    lines = told(done.plan)
    if not done.plan.rounds:
        return "\n".join(lines)
    if dry_run:
        return "\n".join([*lines, "", f"Dry run: nothing was changed.\nThe same without cpkit: {done.command}"])
    changes, turns = len(done.plan.changes), len(done.turns)
    count = f"{changes} {plural('change', changes)}, {turns} {plural('turn', turns)}, {done.seconds:.1f} s"
    lines = ["", f"{done.plan.cluster}: {count}; every node has what the inventory asks for."]
    if done.plan.left:
        again = f"cpkit reconfigure -i {inventory}"
        lines[-1] = f"{done.plan.cluster}: {count}. Left for another run: {', '.join(done.plan.left)}: {again}"
    lines += meanwhile(done.availability, done.terms)
    return "\n".join([*lines, f"Run directory: {done.directory}", f"Report: {done.directory}/{PAGE}"])
