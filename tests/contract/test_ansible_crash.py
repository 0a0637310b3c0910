"""What is left of a run whose process was killed: nothing, once what it had under way is over."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cpkit.errors import Locked
from cpkit.journal import open_run

RUN = """
import sys
from pathlib import Path
from cpkit import ansible
from cpkit.journal import open_run

root = Path(sys.argv[1])
with open_run("prod", "bootstrap") as run:
    play = ansible.Play(str(root / "play.yml"), root / "hosts")
    ansible.run(play, log=root / "log", on_event=lambda event: None, keep_open=(run.lock,))
"""
# Takes the lock, starts a worker that holds it for a moment, and waits to be killed.
ORPHAN = """
import subprocess, sys, time
from cpkit.journal import open_run

with open_run("prod", "bootstrap") as run:
    worker = subprocess.Popen(["sleep", sys.argv[1]], pass_fds=[run.lock], start_new_session=True)
    print(worker.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "cpkit"


@contextmanager
def program(text: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", text, *words], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def wait_for(path: Path, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def below(pid: int) -> list[int]:
    found = []
    with suppress(FileNotFoundError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *below(int(child))]
    return found


def locked(state: Path) -> bool:
    descriptor = os.open(state / "clusters/prod/lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_a_killed_cpkit_takes_ansible_with_it_and_gives_the_lock_free(tmp_path: Path, state: Path) -> None:
    started = tmp_path / "started"
    (tmp_path / "hosts").write_text(f"a ansible_connection=local ansible_python_interpreter={sys.executable}\n")
    (tmp_path / "play.yml").write_text(
        "- hosts: all\n  tasks:\n"
        f"    - {{name: Hang, ansible.builtin.command: sh -c 'touch {started}; exec sleep 5'}}\n"
        f"    - {{name: Next, ansible.builtin.command: touch {tmp_path}/next}}\n"
    )
    with program(RUN, str(tmp_path)) as process:
        wait_for(started)
        pids = below(process.pid)
        assert any(b"ansible-playbook" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)
        with pytest.raises(Locked, match=f"process {process.pid}"), open_run("prod", "upgrade"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    began = time.monotonic()
    with open_run("prod", "bootstrap"):
        assert time.monotonic() - began < 30
        assert not [pid for pid in pids if alive(pid)]
        assert not (tmp_path / "next").exists()
    assert not locked(state)


def test_the_lock_outlives_its_run_for_as_long_as_a_worker_lives(state: Path) -> None:
    with program(ORPHAN, "1.5") as process:
        assert process.stdout
        worker = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert alive(worker)
    assert locked(state)
    with open_run("prod", "bootstrap"):
        assert not alive(worker)
    assert not locked(state)
