"""`cpkit upgrade`: bring a running cluster to another version, one gated node at a time."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import DryRunOption, YesOption, cluster_of, confirming, result
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, names, new_app
from cpkit.errors import Exit

if TYPE_CHECKING:
    from cpkit.backup import Sealing
    from cpkit.inventory import Cluster
    from cpkit.operations.upgrade import Options, Result

app = new_app(
    """Bring a running cluster to another version, one gated node at a time.

Kubernetes one minor after the other, etcd with it; a node that does not come back returns to the version before."""
)
ToOption = Annotated[
    str,
    typer.Option(
        "--to", metavar="VERSION", help="A version, as 1.37.2, or a minor.", show_default="what the inventory asks for"
    ),
]
EtcdOption = Annotated[
    str, typer.Option("--etcd", metavar="VERSION", help="An etcd of your choice.", show_default="what goes with it")
]
OnlyOption = Annotated[
    list[str] | None, typer.Option("--only", metavar="NODE[,NODE]", help="Upgrade these nodes, and leave the others.")
]


@app.command(
    epilog=examples(
        "cpkit upgrade plan -i prod --to 1.37",
        "cpkit upgrade plan -i prod --to 1.37.2 -o json",
        note="Exit code: 0 it may begin, 3 it is refused, 4 something is not known. Examples:",
    )
)
def plan(
    inventory: InventoryOption,
    *,
    to: ToOption = "",
    etcd: EtcdOption = "",
    only: OnlyOption = None,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what an upgrade would do on each node, in which order and why, and what forbids it; changes nothing."""
    from rich.console import Console

    from cpkit.operations.upgrade import Options
    from cpkit.operations.upgrade import plan as operation
    from cpkit.ui.upgrade import page, to_json

    _, found = operation(cluster_of(inventory, ask_become_pass), Options(to, etcd, names(only)))
    if output is Output.JSON:
        typer.echo(json.dumps(to_json(found), indent=2))
    else:
        Console(highlight=False).print(page(found))
    if found.refusals:
        unknown = all(refusal.unknown for refusal in found.refusals)
        raise typer.Exit(Exit.UNKNOWN if unknown else Exit.REFUSED)


@app.command(
    epilog=examples(
        "cpkit upgrade rolling -i prod --to 1.37 --dry-run",
        "cpkit upgrade rolling -i prod --to 1.37.2 --yes",
        "cpkit upgrade rolling -i prod --to 1.36.4 --only cp1",
    )
)
def rolling(
    inventory: InventoryOption,
    *,
    to: ToOption = "",
    etcd: EtcdOption = "",
    only: OnlyOption = None,
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="Take no backup first; without backup_store there is no other way.")
    ] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Upgrade the control plane, one node at a time: etcd, then every API server, then the controllers.

    A backup is taken and proven first, and the binaries are put and verified on all nodes. A node is touched only
    while all others are healthy, etcd's leader last. One whose new version does not come up returns to the version
    before, and the run stops.

    The first Ctrl-C stops after the node under way. A run that was cut off, or was stopped, is taken up by the same
    command, and nothing is done twice. At the end the inventory names the new version.
    """
    from cpkit.operations.upgrade import Options
    from cpkit.operations.upgrade import upgrade as operation
    from cpkit.watch import Watch

    cluster = cluster_of(inventory, ask_become_pass)
    password = cluster.control_plane[0].ssh.become_password if ask_become_pass else ""
    wanted = not no_backup and not dry_run and bool(cluster.spec.backup_store)
    options = Options(to, etcd, names(only), no_backup, _sealing(cluster) if wanted else None, dry_run, password)
    view = _view(output)
    try:
        done = operation(cluster, options, view, confirm=confirming(view, yes=yes), watch=Watch)
    finally:
        view.pause()
    text = _summary(inventory, cluster, options, done)
    turns = [str(turn) for turn in done.turns]
    fields = {"turns": turns, "availability": done.availability, "backup": done.backup, "written": done.written}
    result(output, text, target=done.plan.target.variables(), **fields, directory=done.directory)


def _view(output: Output):  # type: ignore[no-untyped-def]
    from cpkit.cli.fetching import listener
    from cpkit.ui.run import JsonView, TextView

    return JsonView() if output is Output.JSON else TextView(listener())


def _sealing(cluster: "Cluster") -> "Sealing":
    from cpkit.cli.backup_options import sealing

    configured = cluster.spec.backup_recipients
    return sealing(configured, recipients=[], file=None, passphrase=False, passphrase_file=None, no_encrypt=False)


def _summary(inventory: str, cluster: "Cluster", options: "Options", done: "Result") -> str:
    from cpkit.operations.upgrade import describe, needed
    from cpkit.runs import PAGE

    target = done.plan.target
    if options.dry_run and done.plan.rounds:
        return f"{describe(done.plan)}\n\nDry run: nothing was changed.\nThe same without cpkit: {done.command}"
    lines = [f"{cluster.name} runs {target}." if not done.plan.rounds else _told(cluster.name, done)]
    if done.availability:
        lines += [f"API meanwhile: {done.availability}", f"etcd chose a leader {done.terms} times."]
    if done.backup:
        lines.append(f"Backup: {done.backup}")
    if done.written:
        lines.append(f"The inventory asks for it now: {done.written}")
    elif wanted := needed(cluster, target):
        lines.append("Once all nodes have it, set in the inventory, so that it asks for what runs:")
        lines += [f"  {name}: {value}" for name, value in wanted.items()]
    if done.plan.left:
        again = f"cpkit upgrade rolling -i {inventory} --to {target.kubernetes}"
        lines.append(f"Left for another run: {', '.join(done.plan.left)}. Go on with: {again}")
    if done.directory:
        lines += [f"Run directory: {done.directory}", f"Report: {done.directory / PAGE}"]
    return "\n".join(lines)


def _told(cluster: str, done: "Result") -> str:
    count = len({turn.node for turn in done.turns})
    return f"\n{cluster}: {done.plan.target} on {count} nodes, {len(done.turns)} turns, {done.seconds:.1f} s."
