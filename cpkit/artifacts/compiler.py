"""Running Go: every line of it in a log, and the last ones in the error."""

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import IO

from cpkit.artifacts.golang import Toolchain
from cpkit.errors import CpkitError

DOWNLOAD_TIMEOUT = 1200.0
COMPILE_TIMEOUT = 7200.0
SHOWN_LINES = 12


@dataclass(frozen=True)
class Compiler:
    """A Go toolchain in a module's directory."""

    toolchain: Toolchain
    arch: str
    directory: Path
    log: Path

    def output(self, *args: str) -> str:
        """What a short Go command prints."""
        return "".join(f"{line}\n" for line in self._lines(args, timeout=DOWNLOAD_TIMEOUT, merge=False))

    def run(self, *args: str, line: Callable[[str], None] = lambda _: None) -> None:
        """Run a long Go command, telling each line it prints."""
        for text in self._lines(args, timeout=COMPILE_TIMEOUT, merge=True):
            line(text)

    def _lines(self, args: Sequence[str], *, timeout: float, merge: bool) -> Iterator[str]:
        last: deque[str] = deque(maxlen=SHOWN_LINES)
        with self.log.open("a", buffering=1) as log:
            log.write(f"$ go {' '.join(args)}\n")
            with _process(self, args, stderr=subprocess.STDOUT if merge else log, timeout=timeout) as process:
                assert process.stdout is not None  # noqa: S101 - a pipe was asked for
                for raw in process.stdout:
                    log.write(raw)
                    last.append(raw.rstrip("\n"))
                    yield last[-1]
        if process.returncode:
            raise self._failure(args, process.returncode, last)

    def _failure(self, args: Sequence[str], code: int, last: Sequence[str]) -> CpkitError:
        tail = "\n".join(f"    {line}" for line in last or self.log.read_text().splitlines()[-SHOWN_LINES:])
        reason = "ran out of time" if code == -signal.SIGTERM else f"ended with {code}"
        return CpkitError(
            f"`go {' '.join(args[:2])}` {reason}:\n{tail}",
            hint=f"The whole log: {self.log}. Without a Go module proxy in reach, name a mirror or an exported bundle"
            " with --source.",
        )


@contextmanager
def _process(
    compiler: Compiler, args: Sequence[str], *, stderr: int | IO[str], timeout: float
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [compiler.toolchain.go, *args],
        cwd=compiler.directory,
        env=compiler.toolchain.environment(compiler.arch),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        errors="replace",
        process_group=0,  # the compilers it starts end with it
    )
    watchdog = Timer(timeout, _end, (process,))
    watchdog.start()
    try:
        yield process
        process.wait()
    finally:
        watchdog.cancel()
        if process.poll() is None:
            _end(process)
            process.wait()


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
