"""Pours a stream into commands on several nodes at once; imported when the first one is poured."""

import fcntl
import os
import select
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from cpkit.errors import CpkitError, Unreachable
from cpkit.memory import keeping_environment
from cpkit.ssh.errors import CommandTimeout
from cpkit.ssh.model import Completed
from cpkit.ssh.openssh import way_to

if TYPE_CHECKING:
    from cpkit.inventory import Node

PATIENCE = 30.0  # seconds a command may take nothing of its input
PIPE = 1 << 20  # bytes that may wait for each node, so that they do not wait for one another
BROKE = 255  # how OpenSSH ends when it could not do its work


@dataclass(frozen=True)
class Vessel:
    """A command line on a node that reads a stream, and what it reads before that."""

    node: "Node"
    command: str
    what: str  # as it is called in an error
    first: bytes = field(default=b"", repr=False)


def pour(vessels: Sequence[Vessel], chunks: Iterable[bytes], *, timeout: float) -> dict[str, Completed | CpkitError]:
    """Give all of them what is yielded, and tell by node how each ended; one that fails does not stop the others.

    What the iterator raises is raised here. Then the commands see their stdin end early, so they must know by
    themselves how much there should be.
    """
    ends = time.monotonic() + timeout
    with ExitStack() as stack:
        streams = [stack.enter_context(_stream(vessel, ends)) for vessel in vessels]
        for each, vessel in zip(streams, vessels, strict=True):
            each.write(vessel.first)
        for chunk in chunks:
            for each in streams:
                each.write(chunk)
            if not any(each.open for each in streams):
                break
        return {each.vessel.node.name: each.finish(timeout) for each in streams}


@contextmanager
def _stream(vessel: Vessel, ends: float) -> Iterator["_Stream"]:
    with way_to(vessel.node) as words:
        process = subprocess.Popen(
            [*words, vessel.command],
            env=keeping_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stream = _Stream(vessel, process, ends)
        try:
            yield stream
        finally:
            stream.close()


class _Stream:
    """What is on its way to one node."""

    def __init__(self, vessel: Vessel, process: subprocess.Popen[bytes], ends: float) -> None:
        assert process.stdin is not None  # noqa: S101 - it was made with pipes
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        self.vessel, self.open = vessel, True
        self._process, self._ends = process, ends
        self._stdin = process.stdin
        self._said: dict[str, bytes] = {}
        self._stuck = False
        os.set_blocking(self._stdin.fileno(), False)
        with suppress(OSError):  # the kernel limits how much the pipes of a user may hold together
            fcntl.fcntl(self._stdin, fcntl.F_SETPIPE_SZ, PIPE)
        self._poll = select.poll()
        self._poll.register(self._stdin, select.POLLOUT)
        pipes = {"stdout": process.stdout, "stderr": process.stderr}
        self._readers = [threading.Thread(target=self._read, args=each, daemon=True) for each in pipes.items()]
        for reader in self._readers:
            reader.start()

    def write(self, data: bytes) -> None:
        """All of the data, unless the command takes none any longer; why is told at the end."""
        view = memoryview(data)
        while view and self.open:
            if not self._poll.poll(1000 * max(0.0, min(PATIENCE, self._ends - time.monotonic()))):
                self._stuck, self.open = True, False
                return
            try:
                view = view[os.write(self._stdin.fileno(), view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:  # it has ended before its input did; why is in what it said
                self.open = False

    def finish(self, timeout: float) -> Completed | CpkitError:
        """Wait for the command's end once it has all of its input."""
        self.open = False
        name, what = self.vessel.node.name, self.vessel.what
        if self._stuck and self._ends > time.monotonic():
            return Unreachable(f"`{what}` took nothing for {PATIENCE:g} s", node=name)
        self._stdin.close()
        try:
            code = self._process.wait(max(0.0, self._ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            hint = "The machine is overloaded or frozen, or the command waits for something. Its effect is unknown."
            return CommandTimeout(f"`{what}` did not end within {timeout:g} s", hint=hint, node=name)
        self.drain()
        if code == BROKE:
            lines = self._said["stderr"].decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            return Unreachable(f"SSH broke while running `{what}`: {lines[-1]}", node=name)
        return Completed(code, self._said["stdout"], self._said["stderr"])

    def close(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._stdin.close()
        self.drain()

    def drain(self) -> None:
        """Wait until all is read that was said."""
        for reader in self._readers:
            reader.join()

    def _read(self, name: str, pipe: IO[bytes]) -> None:
        with pipe:
            self._said[name] = pipe.read()
