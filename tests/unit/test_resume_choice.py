"""Which run `cpkit resume` takes up, and that it is run again as it was."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cpkit.cli import resume
from cpkit.runs.record import Outcome, Record
from cpkit.runs.unfinished import chosen
from tests.unit.cases import cases

WORDS = ("upgrade", "-i", "prod", "--to", "1.37.2")


def run(outcome: Outcome, operation: str = "upgrade", *, changed: bool = True, owes: bool = False) -> Record:
    changes = {"cp1": 1} if changed else {}
    return Record(
        "prod", f"T-{operation}", Path(), operation, 0.0, 1.0, outcome, changed=changes, words=WORDS, owes=owes
    )


@cases(
    ("records", "taken"),
    [
        ([], None),
        ([run("done"), run("cut off")], None),
        ([run("cut off", changed=False)], 0),
        ([run("failed")], 0),
        ([run("failed", changed=False)], None),
        ([run("interrupted"), run("done")], 0),
        ([run("done", "backup"), run("cut off")], 1),
        ([run("done", "rotate-encryption", owes=True)], 0),
        ([run("done", "rotate-encryption"), run("done", "rotate-encryption", owes=True)], None),
        ([run("cut off", "backup"), run("done", "rotate-encryption", owes=True)], 0),
        ([run("going on"), run("cut off", "backup")], 0),
    ],
)
def test_the_newest_run_that_left_something_is_taken_up(records: list[Record], taken: int | None) -> None:
    assert chosen(records) is (None if taken is None else records[taken])


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """What is run instead of this process."""
    found: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda _, argv: found.append(argv[3:]))
    return found


@pytest.mark.parametrize(("yes", "more"), [(False, []), (True, ["--yes"])])
def test_it_is_run_again_where_it_was_called_and_said_first(
    called: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, yes: bool, more: list[str]
) -> None:
    class Named:
        name = "prod"

    record = Record("prod", "T-upgrade", Path(), "upgrade", 0, 1, "cut off", words=WORDS, folder=str(tmp_path))
    monkeypatch.setattr("cpkit.inventory.load", lambda _: Named())
    monkeypatch.setattr("cpkit.runs.unfinished", lambda _: record)
    done = CliRunner().invoke(resume.app, ["-i", "prod", *(["--yes"] if yes else [])])
    assert done.exit_code == 0
    assert "cpkit upgrade -i prod --to 1.37.2" in done.output
    assert called == [[*WORDS, *more]]
    CliRunner().invoke(resume.app, ["-i", "prod", "--dry-run"])
    assert len(called) == 1
    monkeypatch.setattr("cpkit.runs.unfinished", lambda _: None)
    assert "nothing is to be taken up" in CliRunner().invoke(resume.app, ["-i", "prod"]).output
