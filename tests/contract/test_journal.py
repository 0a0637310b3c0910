"""A run's directory, its journal and its lock, in a state directory of the test's own."""

import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from cpkit.errors import CpkitError, Exit, Locked
from cpkit.journal import Run, open_run, owner, unfinished


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "cpkit"


def lines(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.directory / "run.jsonl").read_text().splitlines()]


def test_a_run_has_a_directory_of_its_own_that_only_its_owner_reads(state: Path) -> None:
    with open_run("prod", "bootstrap") as run:
        assert run.directory.parent == state / "clusters" / "prod" / "runs"
        assert re.fullmatch(r"\d{8}T\d{6}\.\d{3}Z-bootstrap", run.directory.name)
        assert stat.S_IMODE(run.directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((state / "clusters/prod/lock").stat().st_mode) == 0o600


def test_what_was_written_is_there_at_once_and_in_order() -> None:
    with open_run("prod", "bootstrap") as run:
        with run.step("one"):
            assert [line["event"] for line in lines(run)] == ["begun", "started"]
        run.write("plan", path=Path("/x"))
        events = lines(run)
    assert [line["event"] for line in events] == ["begun", "started", "done", "plan"]
    assert events[0] | {"at": 0} == {
        "at": 0,
        "event": "begun",
        "operation": "bootstrap",
        "owner": owner(),
        "pid": os.getpid(),
        "words": sys.argv[1:],
        "folder": str(Path.cwd()),
    }
    assert events[3]["path"] == "/x"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(CpkitError("no"), "failed"), (KeyboardInterrupt(), "interrupted"), (OSError(), "interrupted")],
)
def test_a_step_says_how_it_ended(error: BaseException, outcome: str) -> None:
    with open_run("prod", "bootstrap") as run:
        with pytest.raises(type(error)), run.step("one"):
            raise error
        assert lines(run)[-1]["event"] == outcome
        assert run.steps == [{"step": "one", "outcome": outcome, "seconds": run.steps[0]["seconds"]}]


def test_an_error_is_journalled_with_its_hint() -> None:
    with open_run("prod", "bootstrap") as run:
        with pytest.raises(CpkitError), run.step("one"):
            raise CpkitError("disk is full", node="cp1", hint="Make room.")
        error = lines(run)[-2]
    assert (error["event"], error["message"], error["hint"]) == ("error", "cp1: disk is full", "Make room.")


def test_the_report_tells_the_whole_run() -> None:
    with open_run("prod", "bootstrap") as run:
        with run.step("one"):
            pass
        report = json.loads(run.report(changed=3).read_text())
        assert sorted(path.name for path in run.directory.iterdir()) == ["report.json", "run.jsonl"]
    assert (report["schema"], report["cluster"], report["operation"]) == (1, "prod", "bootstrap")
    assert (report["steps"][0]["step"], report["changed"]) == ("one", 3)


def test_a_second_run_is_refused_naming_who_holds_the_lock() -> None:
    with open_run("prod", "bootstrap"), pytest.raises(Locked) as refusal, open_run("prod", "upgrade"):
        pass
    assert refusal.value.code == Exit.LOCKED
    for words in ("prod", owner(), "runs bootstrap", f"process {os.getpid()}"):
        assert words in str(refusal.value)


def test_another_cluster_is_not_locked() -> None:
    with open_run("prod", "bootstrap"), open_run("test", "bootstrap") as run:
        assert run.cluster == "test"


def test_the_lock_is_free_after_a_run_however_it_ended() -> None:
    with pytest.raises(RuntimeError), open_run("prod", "bootstrap"):
        raise RuntimeError
    with open_run("prod", "bootstrap") as run:
        assert run.lock > 0


def test_a_lock_file_that_says_nothing_is_no_lock(state: Path) -> None:
    (state / "clusters/prod").mkdir(parents=True)
    (state / "clusters/prod/lock").write_text("{broken")
    with open_run("prod", "bootstrap"):
        assert json.loads((state / "clusters/prod/lock").read_text())["operation"] == "bootstrap"


@pytest.mark.parametrize("place", ["/proc/cpkit", "/dev/null"])
def test_without_a_place_for_the_journal_nothing_is_begun(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", place)
    with pytest.raises(CpkitError, match="cannot keep a journal") as refusal, open_run("prod", "bootstrap"):
        pytest.fail("the run was begun")
    assert "nothing is begun" in refusal.value.hint


def run_of(operation: str, *events: str) -> None:
    with open_run("prod", operation) as run:
        for event in events:
            run.write(event, what=f"{operation} {event}")


def test_what_a_run_that_was_cut_off_meant_to_do_is_found_by_the_next() -> None:
    run_of("rotate", "target")
    with open_run("prod", "rotate") as now:
        found = unfinished("prod", "rotate")
        assert found is not None
        assert found["what"] == "rotate target"
        now.write("target", what="again")
        now.write("finished")
    assert unfinished("prod", "rotate") is None


def test_a_run_that_came_to_no_target_hides_none_and_other_operations_do_not_count() -> None:
    assert unfinished("prod", "rotate") is None
    run_of("rotate", "target")
    run_of("rotate")
    run_of("other-rotate", "target", "finished")
    found = unfinished("prod", "rotate")
    assert found is not None
    assert found["what"] == "rotate target"


def test_a_line_that_a_crash_cut_off_hides_nothing() -> None:
    run_of("rotate", "target")
    with open_run("prod", "rotate") as run:
        run.write("target", what="late")
        with (run.directory / "run.jsonl").open("a") as stream:
            stream.write('{"event": "finis')
    found = unfinished("prod", "rotate")
    assert found is not None
    assert found["what"] == "late"
