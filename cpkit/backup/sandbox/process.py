"""Programs that run for a while, end with us, and whose last words are kept."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cpkit.backup.errors import BackupError
from cpkit.lifeline import bound

POLL = 0.05
TRIES = 3  # a free port may be taken by somebody else before the program listens there
TAKEN = "address already in use"
COMPLAINTS = ("error", "panic:", "fatal error:", "runtime:")
KEPT = 8  # lines of a log that are told, for the log goes with the sandbox
_KLOG = re.compile(r"^[EF]\d{4} \S+ +\d+ [^\]]+\] ?(.*)")


class Ended(BackupError):
    """A program ended that was to run."""


@dataclass(frozen=True)
class Child:
    """A program that runs."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def await_that(self, condition: Callable[[], bool], *, within: float, what: str) -> None:
        """Return when the condition holds; Ended or BackupError, with the program's last words, when it never will."""
        deadline = time.monotonic() + within
        while not condition():
            if self.process.poll() is not None:
                text = f"{self.name} ended with {self.process.returncode}: {last_words(self.log)}"
                raise Ended(text, hint=end_of(self.log))
            if time.monotonic() > deadline:
                text = f"{self.name} did not {what} within {within:.0f} s: {last_words(self.log)}"
                raise BackupError(text, hint=end_of(self.log))
            time.sleep(POLL)


@contextmanager
def running(name: str, argv: Sequence[str], *, log: Path, inherit: Sequence[int]) -> Iterator[Child]:
    """A program that runs as long as the context lasts, and not a moment longer than cpkit."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            bound(argv, signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(inherit),
            start_new_session=True,  # Ctrl-C is for cpkit, which ends it
            cwd=log.parent,
            env={"PATH": os.defpath, "HOME": str(log.parent), "TMPDIR": str(log.parent)},
        )
    try:
        yield Child(name, process, log)
    finally:
        process.kill()  # what it works on is thrown away
        process.wait()


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def last_words(log: Path) -> str:
    """The last complaint in a log, without what surrounds it."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith("{"):
            told = _structured(line)
            if told:
                return told
        elif match := _KLOG.match(line):
            return match[1]
        elif line.lower().startswith(COMPLAINTS):
            return line
    return lines[-1] if lines else "it said nothing"


def end_of(log: Path) -> str:
    """The last lines of a log, as a hint; its folder is thrown away."""
    lines = [line.rstrip()[:300] for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n    ".join(["The end of its log:", *lines[-KEPT:]]) if lines else ""


def _structured(line: str) -> str:
    """What a line of etcd's log complains about; "" when it does not."""
    try:
        body = json.loads(line)
    except ValueError:
        return ""
    if body.get("level") not in {"warn", "error", "fatal", "panic"}:
        return ""
    return ": ".join(str(body[key]) for key in ("msg", "error") if body.get(key))
