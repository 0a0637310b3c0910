"""`cpkit resume`: take up the last run of a cluster that did not come to its end."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cpkit.cli.changing import DryRunOption, YesOption
from cpkit.cli.options import InventoryOption, examples, new_app
from cpkit.errors import CpkitError, Locked

if TYPE_CHECKING:
    from cpkit.runs import Record

app = new_app()


@app.command(
    epilog=examples(
        "cpkit resume -i prod --dry-run",
        "cpkit resume -i prod",
        note="Exit code: that of the command; 0 when there is nothing to take up. Examples:",
    )
)
def resume(inventory: InventoryOption, *, yes: YesOption = False, dry_run: DryRunOption = False) -> None:
    """Take up the last run that was cut off, interrupted or failed: the same command is run again.

    Every command looks at the nodes first and does what is left, so this is no more than finding out which one it was.
    With --dry-run it is only said.
    """
    from cpkit.inventory import load
    from cpkit.runs import unfinished

    cluster = load(inventory).name
    found = unfinished(cluster)
    if not found:
        typer.echo(f"{cluster}: nothing is to be taken up; every run came to its end.")
        return
    if found.outcome == "going on":
        raise Locked(f"{found.name} of {found.owner} goes on", hint="Wait until it is over. Look: cpkit runs show")
    if not found.words:
        raise CpkitError(f"{found.name} was not finished, and what it was called with is not known", hint=found.hint)
    words = [*found.words, *(["--yes"] if yes and not {"--yes", "-y"} & {*found.words} else [])]
    typer.echo(_told(found, words), err=True)
    if not dry_run:
        _become(words, Path(found.folder))


def _told(found: "Record", words: list[str]) -> str:
    began = found.name.partition("-")[0]
    lines = [f"{found.cluster}: taking up {found.operation}, begun {began} by {found.owner}; {found.outcome}"]
    lines[0] += f": {found.reason}" if found.reason else ""
    return "\n".join([*lines, f"  cpkit {shlex.join(words)}", ""])


def _become(words: list[str], folder: Path) -> None:
    """This process goes on as that command, where that was called; its exit code is this one's."""
    try:
        os.chdir(folder)
    except OSError as error:
        hint = "Run the command that is shown above from where it was called."
        raise CpkitError(f"cannot go to {folder}: {error.strerror}", hint=hint) from error
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "cpkit", *words])  # noqa: S606 - what the user typed, no shell
