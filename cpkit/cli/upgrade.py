"""`cpkit upgrade`: bring a running cluster to another version and back, one gated node at a time."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cpkit.cli.changing import cluster_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, examples, new_app
from cpkit.cli.unfolding import unfolded
from cpkit.cli.upgrade_options import BackToOption, Change, EtcdOption, Wanted
from cpkit.cli.upgrade_view import planned
from cpkit.errors import Exit, UsageError

app = new_app(
    """Bring a running cluster to another version, one gated node at a time.

Kubernetes one minor after the other, etcd with it; a node that does not come back returns to the version before. With
`--rollback-safe` the new version behaves like the old one until `finalize`, and `rollback` takes all of it back."""
)


@app.command(
    epilog=examples(
        "cpkit upgrade plan -i prod --to 1.37",
        "cpkit upgrade plan -i prod --to 1.37 -o upgrade.json",
        "cpkit upgrade plan -i prod --to 1.37.2 -o json",
        note="Exit code: 0 it may begin, 3 it is refused, 4 something is not known. Examples:",
    )
)
@unfolded
def plan(
    inventory: InventoryOption,
    *,
    wanted: Wanted,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Keep the plan for upgrade rolling --plan.", show_default=False),
    ] = None,
    ask_become_pass: AskBecomePassOption = False,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="<table|json|FILE.json>",
            help="How to print the result; or a file, which is --save.",
        ),
    ] = Output.TABLE.value,
) -> None:
    """Show what an upgrade would do on each node, in which order and why, and what forbids it; changes nothing.

    With --save, or -o and a file, the plan is kept together with the state it was made of; `upgrade rolling --plan`
    then does just that, and refuses when something has drifted since.
    """
    from rich.console import Console

    from cpkit.operations.upgrade import look
    from cpkit.ui.upgrade import page, to_json

    form, file = _form_or_file(output)
    found = look(cluster_of(inventory, ask_become_pass), wanted.options(), save or file)
    if form is Output.JSON:
        typer.echo(json.dumps(to_json(found), indent=2))
    else:
        Console(highlight=False).print(page(found))
    if found.refusals:
        unknown = all(refusal.unknown for refusal in found.refusals)
        raise typer.Exit(Exit.UNKNOWN if unknown else Exit.REFUSED)


def _form_or_file(output: str) -> tuple[Output, Path | None]:
    """How a plan is printed, and where it is kept when a file was named instead."""
    if output in set(Output):
        return Output(output), None
    if not output.endswith(".json"):
        raise UsageError(
            f"-o {output} is neither table nor json", hint="To keep the plan, name a file: -o upgrade.json"
        )
    return Output.TABLE, Path(output)


@app.command(
    epilog=examples(
        "cpkit upgrade rolling -i prod --to 1.37 --dry-run",
        "cpkit upgrade rolling -i prod --to 1.37 --rollback-safe",
        "cpkit upgrade rolling -i prod --to 1.37.2 --yes",
        "cpkit upgrade rolling -i prod --to 1.36.4 --only cp1",
        "cpkit upgrade rolling -i prod --plan upgrade.json --pause-between 60 --max-failed 0",
    )
)
@unfolded
def rolling(
    inventory: InventoryOption,
    *,
    wanted: Wanted,
    saved: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="Do what a saved plan says, if it still fits.", show_default=False),
    ] = None,
    change: Change,
) -> None:
    """Upgrade the control plane, one node at a time: etcd, then every API server, then the controllers.

    A backup is taken and proven first, and the binaries are put and verified on all nodes. A node is touched only
    while all others are healthy, etcd's leader last. One whose new version does not come up returns to the version
    before, and the run stops. Several minors are made one after the other, each as a run of its own.

    The first Ctrl-C stops after the node under way. A run that was cut off, or was stopped, is taken up by the same
    command, and nothing is done twice. At the end the inventory names the new version.
    """
    change.carry_out(inventory, planned(wanted.options(), saved))


@app.command(epilog=examples("cpkit upgrade finalize -i prod --dry-run", "cpkit upgrade finalize -i prod --yes"))
@unfolded
def finalize(inventory: InventoryOption, *, change: Change) -> None:
    """End an upgrade that was made with --rollback-safe: the new version behaves like itself.

    One gated node at a time, every API server before the controllers. After this there is no way back but a backup.
    """
    from cpkit.operations.upgrade import Options

    change.carry_out(inventory, Options(aim="finalize"))


@app.command(
    epilog=examples(
        "cpkit upgrade rollback -i prod --dry-run",
        "cpkit upgrade rollback -i prod --yes",
        "cpkit upgrade rollback -i prod --to 1.36.3 --etcd 3.6.16",
    )
)
@unfolded
def rollback(
    inventory: InventoryOption,
    *,
    to: BackToOption = "",
    etcd: EtcdOption = "",
    change: Change,
) -> None:
    """Take an upgrade back on all nodes, one gated node at a time, with everything that was written since.

    A minor of Kubernetes goes back only if the upgrade was made with --rollback-safe and is not finalized; a patch
    always may. The controllers go first, then every API server, then etcd where its minor changed, by its own
    downgrade. A run that was cut off is taken up by the same command.
    """
    from cpkit.operations.upgrade import Options

    change.carry_out(inventory, Options(to, etcd, aim="rollback"))
