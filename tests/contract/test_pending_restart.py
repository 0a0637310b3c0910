"""A run that was cut off between the files of a running unit and its restart: the next one restarts it, or says so."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.ansible_module import Answer, call

SYSTEMCTL = """#!/bin/sh
[ "$1" = show ] && printf 'ActiveState=active\\nUnitFileState=enabled\\nMainPID=0\\n' && exit 0
echo "$@" >> {log}
"""


class Node:
    """A node whose unit always runs, and what was asked of its systemd."""

    def __init__(self, folder: Path) -> None:
        self.log, self.pending, self.file = folder / "log", folder / "pending", folder / "file"
        tool = folder / "bin" / "systemctl"
        tool.parent.mkdir()
        tool.write_text(SYSTEMCTL.format(log=self.log))
        tool.chmod(0o755)
        self.path = f"{tool.parent}:/usr/bin:/bin"
        self.lay_down("before", "restart")
        self.log.unlink()

    @property
    def mark(self) -> Path:
        return self.pending / "a.service.pending"

    @property
    def restarts(self) -> int:
        return self.log.read_text().count("restart a.service") if self.log.exists() else 0

    def lay_down(self, content: str, on_change: str, *, check: bool = False) -> Answer:
        entry = {"path": str(self.file), "content": content, "mode": "0600", "owner": Path("/proc/self").owner()}
        return call(
            "cpkit_files",
            {"files": [entry], "unit": "a.service", "on_change": on_change},
            check=check,
            constants={"PENDING": str(self.pending)},
            path=self.path,
        )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_change_restarts_once_and_leaves_no_mark(node: Node) -> None:
    assert node.lay_down("after", "restart").changed
    assert (node.restarts, node.mark.exists()) == (1, False)
    assert not node.lay_down("after", "restart").changed
    assert node.restarts == 1


def test_a_unit_that_was_not_restarted_any_more_is_restarted_though_its_files_are_right(node: Node) -> None:
    node.pending.mkdir(exist_ok=True)
    node.mark.touch()
    assert node.lay_down("before", "restart", check=True).changed
    assert node.mark.exists()
    assert node.lay_down("before", "restart").changed
    assert (node.restarts, node.mark.exists()) == (1, False)


def test_a_bootstrap_leaves_it_running_and_says_so(node: Node) -> None:
    node.pending.mkdir(exist_ok=True)
    node.mark.touch()
    refused = node.lay_down("before", "refuse")
    assert "what a.service was started with" in refused.problem
    assert (node.restarts, node.mark.exists()) == (0, True)


RUNS = """#!/bin/sh
[ "$1" = show ] && printf 'ActiveState=active\\nUnitFileState={enabled}\\nMainPID={pid}\\n' && exit 0
exit 0
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that was started with flags."""
    with subprocess.Popen([sys.executable, "-c", "input()", "--keep=3", "--level=info"], stdin=subprocess.PIPE) as run:
        yield run
        run.kill()


@pytest.mark.parametrize(
    ("flags", "enabled", "says"),
    [
        ("--keep=3 \\\n  --level=info", "enabled", None),
        ("--level=info --keep=3", "enabled", None),
        ("--keep=5 \\\n  --level=info", "enabled", ("restart", "--keep")),
        ("--keep=3", "enabled", ("restart", "--level")),
        ("--keep=3 --level=$LEVEL", "enabled", None),
        ("--keep=3 --level=info", "disabled", ("enable", "")),
    ],
)
def test_a_process_that_was_started_with_other_flags_than_its_file_has_is_found(
    tmp_path: Path, process: subprocess.Popen[bytes], flags: str, enabled: str, says: tuple[str, str] | None
) -> None:
    tool = tmp_path / "bin" / "systemctl"
    tool.parent.mkdir()
    tool.write_text(RUNS.format(pid=process.pid, enabled=enabled))
    tool.chmod(0o755)
    file = tmp_path / "cpkit-a.service"
    file.write_text(f"[Service]\nExecStart=python -c input() {flags}\nRestart=always\n")
    entry = {"path": str(file), "content": file.read_text(), "mode": f"{file.stat().st_mode & 0o777:04o}"}
    answer = call(
        "cpkit_files",
        {"files": [entry | {"owner": Path("/proc/self").owner()}], "unit": "cpkit-a.service"},
        check=True,
        constants={"PENDING": str(tmp_path / "pending"), "UNITS": str(tmp_path)},
        path=f"{tool.parent}:/usr/bin:/bin",
    )
    assert not answer.problem
    assert not answer.values["paths"]
    units = [(each["action"], each["why"].rpartition(": ")[2]) for each in answer.values["units"]]
    assert units == ([says] if says else [])
    assert answer.changed == bool(says)
