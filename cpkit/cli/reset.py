"""`cpkit reset`: take a cluster down."""

from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import ConfirmOption, DryRunOption, cluster_and_password, confirming_by_name, result, view_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, names, new_app

if TYPE_CHECKING:
    from cpkit.backup import Sealing
    from cpkit.inventory import Cluster
    from cpkit.operations.reset import Result

app = new_app()


@app.command(
    epilog=examples(
        "cpkit reset -i prod --dry-run",
        "cpkit reset -i prod",
        "cpkit reset -i prod --confirm prod --no-backup --lost cp3",
    )
)
def reset(
    inventory: InventoryOption,
    *,
    no_backup: Annotated[bool, typer.Option("--no-backup", help="Take no backup first.")] = False,
    lost: Annotated[
        list[str] | None, typer.Option("--lost", metavar="NODE[,NODE]", help="Cannot be reached; left as they are.")
    ] = None,
    confirm: ConfirmOption = "",
    dry_run: DryRunOption = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a cluster down for good, after a backup and once its name has been typed.

    Services stop on every machine, and what they leave (etcd's data, keys, units, configuration) is moved to a dated
    folder in /var/lib/cpkit/aside; nothing is deleted, and a bootstrap finds machines that preflight accepts. A run
    that was cut off is taken up by the same command.
    """
    from cpkit.operations.reset import Options
    from cpkit.operations.reset import reset as operation

    cluster, password = cluster_and_password(inventory, ask_become_pass)
    wanted = not no_backup and not dry_run and bool(cluster.spec.backup_store)
    options = Options(no_backup, names(lost), _sealing(cluster) if wanted else None, dry_run, password)
    view = view_of(output)
    try:
        done = operation(cluster, options, view, confirm=confirming_by_name(view, cluster.name, confirm))
    finally:
        view.pause()
    result(
        output, _text(inventory, cluster.name, done), changed=done.done, backup=done.backup, directory=done.directory
    )


def _sealing(cluster: "Cluster") -> "Sealing":
    from cpkit.cli.backup_options import Seal, sealing

    return sealing(cluster.spec.backup_recipients, Seal())


def _text(inventory: str, name: str, done: "Result") -> str:
    from cpkit.operations.reset import ASIDE

    if not done.done:
        return f"{done.plan}\n\nDry run: nothing was changed.\nThe same without cpkit: {done.command}"
    lines = [f"\n{name} is down, {done.seconds:.1f} s. What it was is in {ASIDE} on each machine."]
    lines += [f"Backup: {done.backup}"] if done.backup else []
    return "\n".join(
        [
            *lines,
            f"To begin anew on the same machines: cpkit bootstrap -i {inventory}",
            f"Run directory: {done.directory}",
            f"The same without cpkit: {done.command}",
        ]
    )
