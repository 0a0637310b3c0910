"""`cpkit bootstrap`: bring up a highly available control plane."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import cluster_and_password, confirming
from cpkit.cli.options import AskBecomePassOption, InventoryOption, examples, names, new_app

if TYPE_CHECKING:
    from cpkit.operations.bootstrap import Options, Result
    from cpkit.ui.run import JsonView, TextView

app = new_app()


class Form(StrEnum):
    """How a run is shown."""

    TEXT = "text"
    JSON = "json"


@app.command(
    epilog=examples(
        "cpkit bootstrap -i prod",
        "cpkit bootstrap -i prod --dry-run --diff",
        "cpkit bootstrap -i prod --yes --kubeconfig ~/.kube/config --merge",
    )
)
def bootstrap(
    inventory: InventoryOption,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the machines are changed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show the difference of every file; never of a secret.")] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="NAME[,NAME]", help="Preflight checks that count for nothing."),
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Where to write the kubeconfig.", show_default="~/.kube/CLUSTER.conf")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Keep what other clusters have in that kubeconfig.")] = False,
    ask_become_pass: AskBecomePassOption = False,
    output: Annotated[
        Form, typer.Option("--output", "-o", help="Lines for people, or JSON lines of every event.")
    ] = Form.TEXT,
) -> None:
    """Bring up a highly available control plane, or finish one that an earlier run began.

    The machines are checked first; the plan is shown and confirmed; then everything that can be done in parallel
    is, and health has the last word. A run that was cut off, at whatever moment, is taken up by the same command.
    A second run changes nothing. A cluster that exists is never initialised again.
    """
    from cpkit.operations.bootstrap import Options
    from cpkit.operations.bootstrap import bootstrap as operation
    from cpkit.watch import Watch

    cluster, password = cluster_and_password(inventory, ask_become_pass)
    options = Options(names(ignore), dry_run, diff, kubeconfig, merge, password)
    view = _view(output)
    try:
        result = operation(cluster, options, view, confirm=confirming(view, yes=yes), watch=Watch)
    finally:
        view.pause()
    if output is Form.TEXT:
        _summary(inventory, options, result)


def _view(output: Form) -> "TextView | JsonView":
    from cpkit.cli.fetching import listener
    from cpkit.ui.run import JsonView, TextView

    return JsonView() if output is Form.JSON else TextView(listener())


def _summary(inventory: str, options: "Options", result: "Result") -> None:
    changed = f"{result.changed} {'change' if result.changed == 1 else 'changes'}"
    if options.dry_run:
        typer.echo(f"\nDry run: {changed} would be made, none was. {result.seconds:.1f} s")
        return
    tolerance = next((f.text for f in result.findings if f.check == "etcd.quorum"), "")
    typer.echo(f"\n{result.cluster} is healthy: {changed}, {result.seconds:.1f} s. {tolerance}".rstrip())
    if result.availability:
        typer.echo(f"API meanwhile: {result.availability}")
    typer.echo(f"""
Next:
  export KUBECONFIG={result.kubeconfig}
  kubectl get --raw='/readyz?verbose'
  cpkit health -i {inventory}

Run directory: {result.directory}
The same without cpkit: {result.command}""")
