"""Options that several commands share, defined once."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cpkit.inventory import Cluster

InventoryOption = Annotated[
    str,
    typer.Option(
        "--inventory",
        "-i",
        help="Inventory directory, the name of a lab, or a name under ./inventories.",
        envvar="CPKIT_INVENTORY",
        show_default=True,
    ),
]


def new_app(text: str | None = None) -> typer.Typer:
    """A command or a group of commands; paragraphs of its help flow, and it answers to -h as well."""
    return typer.Typer(
        help=text,
        no_args_is_help=text is not None,
        add_completion=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def examples(*lines: str, note: str = "") -> str:
    """What stands below a command's help: each example on a line of its own."""
    return "\n\n".join([note or "Examples:", *(f"- `{line}`" for line in lines)])


class Output(StrEnum):
    """Forms a report may be printed in."""

    TABLE = "table"
    JSON = "json"


class Form(StrEnum):
    """Forms a reading of a cluster may be printed in."""

    TABLE = "table"
    JSON = "json"
    PROMETHEUS = "prometheus"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]

AskBecomePassOption = Annotated[bool, typer.Option("--ask-become-pass", "-K", help="Ask for the password of sudo.")]


def with_sudo_password(cluster: "Cluster", password: str) -> "Cluster":
    """The cluster with this password for sudo on every node that has none of its own."""
    return cluster.with_sudo_password(password)


def asked_sudo_password(ask: bool) -> str:
    """What the user types at the prompt; nothing when not asked for."""
    return str(typer.prompt("sudo password", hide_input=True, err=True)) if ask else ""


def names(given: list[str] | None) -> frozenset[str]:
    """The names of an option that may be given several times, each time with several names."""
    return frozenset(name.strip() for words in given or () for name in words.split(",") if name.strip())
