"""The only module that knows ansible-playbook: its arguments, its environment, its events and its exit codes."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cpkit.errors import CpkitError, Exit, Locked
from cpkit.lifeline import die_with
from cpkit.paths import ansible_root

Event = Mapping[str, Any]  # what playbooks/plugins/callback/cpkit_events.py writes
UNREACHABLE = 4  # ansible-playbook's exit code when a host could not be reached
# Ansible checks each role's arguments on each host, in tasks that are tagged so; cpkit has checked the same before.
CHECKED = ("--skip-tags", "always")
LOCK_TASK = "Stop unless the lock was taken"  # of role claim


@dataclass(frozen=True)
class Play:
    """One run of ansible-playbook."""

    playbook: str
    inventory: Path
    check: bool = False
    diff: bool = False
    limit: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    become_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Outcome:
    """How a play ended."""

    code: int
    hosts: Mapping[str, Mapping[str, int]]  # Ansible's sums for each host
    failures: tuple[Event, ...]

    @property
    def changed(self) -> int:
        """The number of tasks that changed something."""
        return sum(sums.get("changed", 0) for sums in self.hosts.values())


def argv(play: Play) -> list[str]:
    """The arguments of ansible-playbook, after its name; never a secret."""
    words = ["--inventory", str(play.inventory), str(ansible_root() / "playbooks" / play.playbook)]
    words += ["--check"] if play.check else []
    words += ["--diff"] if play.diff else []
    words += ["--limit", play.limit] if play.limit else []
    for name, value in play.variables.items():
        words += ["--extra-vars", json.dumps({name: value})]
    return words


def equivalent(play: Play) -> str:
    """The line that does the same without cpkit."""
    ask = ["--ask-become-pass"] if play.become_password else []
    line = shlex.join(["ansible-playbook", *argv(play), *ask])
    return f"ANSIBLE_CONFIG={shlex.quote(str(_config()))} {line}"


def run(play: Play, *, log: Path, on_event: Callable[[Event], None], keep_open: tuple[int, ...] = ()) -> Outcome:
    """Run a play, telling each event as it comes; the whole output goes to the log.

    Descriptors in `keep_open` stay open in Ansible and its workers for as long as any of them lives.
    A CpkitError is raised only when Ansible could not do its work at all; failed hosts are in the outcome.
    """
    hosts: dict[str, Mapping[str, int]] = {}
    failures: list[Event] = []
    for event in _events(play, log, keep_open):
        if event["event"] == "stats":
            hosts = event["hosts"]
        elif event.get("state") in {"failed", "unreachable"}:
            failures.append(event)
        on_event(event)
        if event["event"] == "exit":
            code = int(event["code"])
    if code and not failures:
        raise CpkitError(_reason(log, code), hint=f"The whole output is in {log}")
    return Outcome(code, hosts, tuple(failures))


def _events(play: Play, log: Path, keep_open: tuple[int, ...]) -> Iterator[Event]:
    reading, writing = os.pipe()
    try:
        ask = ["--become-password-file", "-"] if play.become_password else []
        with log.open("ab") as output, _password(play.become_password) as stdin:
            process = subprocess.Popen(
                [program(), *argv(play), *ask, *CHECKED],
                env=os.environ | {"ANSIBLE_CONFIG": str(_config()), "CPKIT_EVENTS": str(writing), "NO_COLOR": "1"},
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(writing, *keep_open),
                start_new_session=True,
                preexec_fn=partial(die_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - nothing there but system calls
            )
            os.close(writing)
            writing = -1
            with os.fdopen(reading, encoding="utf-8") as stream, _ended(process):
                yield from (json.loads(line) for line in stream)
        yield {"event": "exit", "code": process.returncode}
    finally:
        if writing >= 0:
            os.close(writing)


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Wait for Ansible; when something is raised meanwhile, end it first, so that nothing goes on unseen."""
    try:
        yield
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        raise
    finally:
        process.wait()


@contextmanager
def _password(secret: str) -> Iterator[int]:
    """The standard input that hands the become password over: it is in no argument, environment or file."""
    if not secret:
        yield subprocess.DEVNULL
        return
    reading, writing = os.pipe()
    os.write(writing, secret.encode() + b"\n")
    os.close(writing)
    try:
        yield reading
    finally:
        os.close(reading)


def program() -> str:
    """Where ansible-playbook is; it belongs beside cpkit. CpkitError when it is nowhere."""
    beside = Path(sys.executable).with_name("ansible-playbook")
    found = str(beside) if beside.is_file() else shutil.which("ansible-playbook")
    if not found:
        raise CpkitError(
            "ansible-playbook is not installed beside cpkit",
            hint="It comes with cpkit; install cpkit anew, for example: pipx reinstall cpkit",
        )
    return found


def _config() -> Path:
    return ansible_root() / "playbooks" / "ansible.cfg"


def _reason(log: Path, code: int) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "it said nothing")
    return f"ansible-playbook ended with {code}: {told.removeprefix('[ERROR]: ')}"


def failure(outcome: Outcome) -> CpkitError:
    """What failed first, where and why, on the first host by name; after a rescue, what the rescue says there."""
    failed = [event for event in outcome.failures if event["task"] == outcome.failures[0]["task"]]
    host = min(str(event["host"]) for event in failed)
    first = [event for event in outcome.failures if event["host"] == host][-1]
    others = sorted({str(event["host"]) for event in outcome.failures} - {str(first["host"])})
    also = f" (also on {', '.join(others)})" if others else ""
    message = str(first.get("message", "failed"))
    if first["task"] == LOCK_TASK:
        return Locked(message, node=str(first["host"]))
    error = CpkitError(f"{first['task']}: {message}{also}", node=str(first["host"]))
    error.code = Exit.UNKNOWN if outcome.code == UNREACHABLE else Exit.FAILED
    return error
