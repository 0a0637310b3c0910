"""Runs of processes that were killed: listed from their journals, and told apart from those that go on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cpkit.journal import open_run
from cpkit.runs import find, listed
from cpkit.runs.page import render

RUN = """
import sys
from cpkit.journal import open_run
with open_run("prod", "upgrade") as run:
    run.write("plan", command="ansible-playbook upgrade.yml")
    with run.step("Put the binaries on all nodes"):
        pass
    with run.step("Upgrade etcd on cp1"):
        run.write("host", host="cp1", state="changed", task="Lay down etcd")
        print("under way", flush=True)
        sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_a_killed_run_is_cut_off_and_until_then_it_goes_on() -> None:
    command = [sys.executable, "-c", RUN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"under way\n"
        assert [each.outcome for each in listed("prod")] == ["going on"]
        process.send_signal(signal.SIGKILL)
    (record,) = listed("prod")
    assert (record.outcome, record.reason) == ("cut off", "its process died during: Upgrade etcd on cp1")
    assert [(step.name, step.outcome) for step in record.steps] == [
        ("Put the binaries on all nodes", "done"),
        ("Upgrade etcd on cp1", "cut off"),
    ]
    assert record.changed == {"cp1": 1}
    assert record.command == "ansible-playbook upgrade.yml"
    assert "same command again" in record.hint
    assert "cut off" in render(record)


def test_a_run_under_way_does_not_make_a_killed_one_go_on() -> None:
    with subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    killed = find("")
    with open_run("prod", "upgrade"):
        assert [each.outcome for each in listed("prod")] == ["going on", "cut off"]
    assert [each.outcome for each in listed("prod")] == ["done", "cut off"]
    assert find(killed.name).outcome == "cut off"
