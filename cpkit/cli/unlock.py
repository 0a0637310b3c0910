"""`cpkit unlock`: take away a lock that a dead run left behind."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from cpkit.cli.changing import cluster_and_password
from cpkit.cli.options import AskBecomePassOption, InventoryOption, examples, new_app
from cpkit.errors import UsageError

app = new_app()


@app.command(epilog=examples("cpkit unlock -i prod", "cpkit unlock -i prod --yes"))
def unlock(
    inventory: InventoryOption,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    ask_become_pass: AskBecomePassOption = False,
) -> None:
    """Say who holds the cluster's lock on its nodes, and take it away.

    A lock is given back when its run ends, and the one who took it may always go on. It stays behind when a run
    died and somebody else has to go on. Make sure that the run is dead: two runs at once can break a cluster.
    """
    from cpkit.operations import unlock as operation

    cluster, password = cluster_and_password(inventory, ask_become_pass)
    held = operation.holders(cluster)
    if not held:
        typer.echo(f"Nobody holds the lock of {cluster.name}.")
        return
    for holder in held:
        since = datetime.fromtimestamp(holder.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        typer.echo(f"{holder.node}: held by {holder.owner} since {since}")
    if not yes and not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", hint="Pass --yes when you know that the run is dead.")
    if not yes and not typer.confirm("Is that run dead, and shall the lock be taken away?"):
        return
    for owner in sorted({holder.owner for holder in held}):
        operation.unlock(cluster, owner, become_password=password)
    typer.echo("The lock is taken away.")
