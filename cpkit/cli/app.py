"""The root of the command line: lazy command groups, and one place that prints errors."""

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from cpkit import __version__
from cpkit.errors import CpkitError, Exit

# Each command: the module that holds its Typer app as `app`, and its line of help.
COMMANDS = {
    "init": ("cpkit.cli.init", "Write a commented inventory."),
    "schema": ("cpkit.cli.schema", "Print the JSON Schema of an inventory's variables."),
    "preflight": ("cpkit.cli.preflight", "Check machines before anything is changed on them."),
    "bootstrap": ("cpkit.cli.bootstrap", "Bring up a highly available control plane."),
    "health": ("cpkit.cli.health", "Say whether a cluster may be trusted, and why."),
    "certs": ("cpkit.cli.certs", "List every certificate and key, and whether it is in use."),
    "rotate-certs": ("cpkit.cli.rotate_certs", "Renew certificates with no failed request."),
    "encryption": ("cpkit.cli.encryption", "Show and rotate the key that Secrets are encrypted with in etcd."),
    "plan": ("cpkit.cli.plan", "Compare every node with the inventory; exit code 2 when any differs."),
    "reconfigure": (
        "cpkit.cli.reconfigure",
        "Change flags and settings of a running cluster, one gated node at a time.",
    ),
    "upgrade": ("cpkit.cli.upgrade", "Bring a running cluster to another version, one gated node at a time."),
    "node": ("cpkit.cli.node", "Add, remove and replace control-plane nodes of a running cluster."),
    "reset": ("cpkit.cli.reset", "Take a cluster down; nothing is deleted."),
    "gate": ("cpkit.cli.gate", "Ask whether one node may be touched now; what plays call."),
    "backup": ("cpkit.cli.backup", "Take, list, verify and prune backups of a cluster."),
    "restore": ("cpkit.cli.restore", "Bring a cluster back from a backup."),
    "etcd": ("cpkit.cli.etcd", "Look at etcd's members, and keep them fit."),
    "runs": ("cpkit.cli.runs", "What earlier runs did, how they ended, and a page that draws it."),
    "resume": ("cpkit.cli.resume", "Take up the last run that did not come to its end."),
    "unlock": ("cpkit.cli.unlock", "Take away a lock that a dead run left behind."),
    "artifacts": ("cpkit.cli.artifacts", "Fetch, verify and export Kubernetes and etcd binaries."),
    "lab": ("cpkit.cli.lab", "Labs of containers that behave like machines."),
}


class LazyGroup(TyperGroup):
    """Lists every command, and imports only the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """The names of all commands, in reading order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """The command itself, or only its name and help when help is being listed."""
        if cmd_name not in COMMANDS:
            return None
        module, text = COMMANDS[cmd_name]
        if cmd_name not in sys.argv:
            return TyperCommand(cmd_name, help=text)
        command = typer.main.get_command(import_module(module).app)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="cpkit",
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Deploy and maintain a highly available Kubernetes control plane.",
    pretty_exceptions_enable=False,
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"cpkit {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Deploy and maintain a highly available Kubernetes control plane."""


def main() -> None:
    """Run the command line and turn every CpkitError into a message and an exit code."""
    try:
        app(standalone_mode=True)
    except CpkitError as error:
        where = f"{error.node}: " if error.node else ""
        typer.echo(f"Error: {where}{error.message}", err=True)
        if error.hint:
            typer.echo(f"  {error.hint}", err=True)
        sys.exit(error.code)
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        sys.exit(Exit.INTERRUPTED)
