"""What commands share: the cluster; and, to change it, how they are shown, how they ask, and their last word."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpkit.cli.options import Output, asked_sudo_password, with_sudo_password
from cpkit.errors import UsageError

if TYPE_CHECKING:
    from cpkit.inventory import Cluster
    from cpkit.operations.listener import Confirm
    from cpkit.ui.run import JsonView, TextView

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before anything is changed.")]
ConfirmOption = Annotated[
    str, typer.Option("--confirm", metavar="CLUSTER", help="The cluster's name, for scripts: what is asked otherwise.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]


def cluster_of(inventory: str, ask: bool) -> "Cluster":
    """The cluster an inventory describes, with the sudo password if one is asked for."""
    return cluster_and_password(inventory, ask)[0]


def cluster_and_password(inventory: str, ask: bool) -> "tuple[Cluster, str]":
    """The same, and the password that was typed, for Ansible; empty when none is asked for."""
    from cpkit.inventory import load

    cluster, password = load(inventory), asked_sudo_password(ask)
    return with_sudo_password(cluster, password), password


def view_of(output: Output) -> "TextView | JsonView":
    """Lines for people, or JSON lines of every event."""
    from cpkit.artifacts import Silent
    from cpkit.ui.run import JsonView, TextView

    return JsonView() if output is Output.JSON else TextView(Silent())


def confirming(view: "TextView | JsonView", *, yes: bool) -> "Confirm":
    """What shows a plan and asks whether to go on; UsageError when nobody is there to answer."""

    def confirm(plan: str) -> bool:
        view.pause()
        typer.echo(f"\n{plan}\n", err=True)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to confirm the plan", hint="Pass --yes, or --dry-run to only look.")
        return typer.confirm("Go on?", err=True)

    return confirm


def confirming_by_name(view: "TextView | JsonView", name: str, given: str) -> "Confirm":
    """What shows the plan, and wants the cluster's name typed; another name given is refused at once."""
    if given not in {"", name}:
        raise UsageError(f"--confirm says {given!r}, and the cluster is {name!r}")

    def confirm(plan: str) -> bool:
        view.pause()
        typer.echo(f"\n{plan}\n", err=True)
        if given:
            return True
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to confirm the plan", hint=f"Pass --confirm {name}, or --dry-run.")
        return bool(typer.prompt(f"Type the cluster's name ({name}) to go on", err=True) == name)

    return confirm


def meanwhile(availability: str, terms: int) -> list[str]:
    """How the API did in a run that went from node to node, and how often etcd chose a leader."""
    from cpkit.health.quorum import plural

    return [f"API meanwhile: {availability}", f"etcd chose a leader {terms} {plural('time', terms)}."]


def result(output: Output, text: str, **fields: Any) -> None:
    """The last word: a line, or the last JSON line."""
    typer.echo(json.dumps({"event": "result", **fields}, default=str) if output is Output.JSON else text)
