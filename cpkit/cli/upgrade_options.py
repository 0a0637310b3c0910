"""The options of `cpkit upgrade`, each told once."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import DryRunOption, YesOption
from cpkit.cli.options import AskBecomePassOption, Output, OutputOption, names
from cpkit.cli.upgrade_view import pausing, run

if TYPE_CHECKING:
    from cpkit.operations.upgrade import Options

BackToOption = Annotated[
    str,
    typer.Option("--to", metavar="VERSION", help="The version to go back to.", show_default="what ran before"),
]
EtcdOption = Annotated[
    str, typer.Option("--etcd", metavar="VERSION", help="An etcd of your choice.", show_default="what goes with it")
]


@dataclass(frozen=True)
class Wanted:
    """Where an upgrade is to lead."""

    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="VERSION",
            help="A version, as 1.37.2, or a minor.",
            show_default="what the inventory asks for",
        ),
    ] = ""
    etcd: EtcdOption = ""
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NODE[,NODE]", help="Upgrade these nodes, and leave the others."),
    ] = None
    rollback_safe: Annotated[
        bool, typer.Option("--rollback-safe", help="Behave like the minor before until finalized; etcd stays as it is.")
    ] = False

    def options(self) -> "Options":
        """As the operation wants it."""
        from cpkit.operations.upgrade import Options

        return Options(self.to, self.etcd, names(self.only), rollback_safe=self.rollback_safe)


@dataclass(frozen=True)
class Change:
    """What whoever changes versions may ask for."""

    pause_between: Annotated[
        str,
        typer.Option(
            "--pause-between",
            metavar="ask|SECONDS",
            help="Between two nodes ask, or wait.",
            show_default="go on at once",
        ),
    ] = ""
    max_failed: Annotated[
        int | None,
        typer.Option("--max-failed", metavar="N", min=0, help="Touch no further node once more requests have failed."),
    ] = None
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="Take no backup first; without backup_store there is no other way.")
    ] = False
    yes: YesOption = False
    dry_run: DryRunOption = False
    ask_become_pass: AskBecomePassOption = False
    output: OutputOption = Output.TABLE

    def carry_out(self, inventory: str, options: "Options") -> None:
        """Do it as was asked."""
        options = replace(
            options,
            no_backup=self.no_backup,
            dry_run=self.dry_run,
            pausing=pausing(self.pause_between, self.max_failed),
        )
        run(inventory, options, self.output, ask=self.ask_become_pass, yes=self.yes)
