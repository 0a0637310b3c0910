"""A command that takes several options as one value shows and reads them as any other."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from cpkit.cli.unfolding import unfolded


@dataclass(frozen=True)
class Wishes:
    often: Annotated[int | None, typer.Option("--often", min=0)] = None
    loud: Annotated[bool, typer.Option("--loud", help="So that all hear it.")] = False


app = typer.Typer()


@app.command()
@unfolded
def say(word: Annotated[str, typer.Argument()], *, last: Annotated[str, typer.Option()] = "!", wishes: Wishes) -> None:
    """Say it."""
    typer.echo((word, last, wishes))


@pytest.mark.parametrize(
    ("words", "heard"),
    [
        (["a"], ("a", "!", Wishes())),
        (["--loud", "a", "--often", "3"], ("a", "!", Wishes(3, loud=True))),
        (["a", "--last", "?", "--often=0"], ("a", "?", Wishes(0))),
    ],
)
def test_options_arrive_as_one_value(words: list[str], heard: tuple[str, str, Wishes]) -> None:
    done = CliRunner().invoke(app, words)
    assert done.stdout.strip() == str(heard)


def test_they_are_checked_and_explained_as_any_other() -> None:
    assert "So that all hear it." in CliRunner().invoke(app, ["--help"]).stdout
    assert CliRunner().invoke(app, ["a", "--often", "-1"]).exit_code == 2
