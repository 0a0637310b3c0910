"""A local socket that OpenSSH's client leads to a port of a node; imported when the first one is opened."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cpkit.errors import Unreachable
from cpkit.lifeline import bound
from cpkit.memory import keeping_environment
from cpkit.ssh.openssh import way_to

if TYPE_CHECKING:
    from cpkit.inventory import Node

OPEN_SECONDS = 10.0
POLL = 0.01
OPTIONS = ("-N", "-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindMask=0177")


@contextmanager
def open_forward(node: "Node", port: int) -> Iterator[Path]:
    """A Unix socket, for its owner alone; every connection to it becomes one to the port on the node's loopback."""
    with way_to(node) as words, TemporaryDirectory(prefix="cpkit-") as folder:
        path = Path(folder) / "socket"
        log = Path(folder) / "log"
        program, *first, name = words
        forward = ["-E", str(log), *OPTIONS, "-L", f"{path}:127.0.0.1:{port}"]
        argv = [shutil.which(program) or program, *first, *forward, name]
        process = subprocess.Popen(
            bound(argv, signal.SIGTERM),
            env=keeping_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(process, path, log, node.name)
            yield path
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], path: Path, log: Path, node: str) -> None:
    deadline = time.monotonic() + OPEN_SECONDS
    while not path.exists():
        if process.poll() is not None:
            lines = (log.read_text(errors="replace") if log.exists() else "").splitlines() or ["it said nothing"]
            raise Unreachable(f"OpenSSH's client does not get there: {lines[-1]}", node=node)
        if time.monotonic() > deadline:
            raise Unreachable(f"OpenSSH's client got no answer within {OPEN_SECONDS:g} s", node=node)
        time.sleep(POLL)
