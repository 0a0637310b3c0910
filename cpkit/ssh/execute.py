"""Runs one command over an open connection; imported when the first one is run."""

import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import paramiko

from cpkit.errors import Unreachable
from cpkit.ssh.errors import CommandTimeout
from cpkit.ssh.model import Completed

PACKET = 1 << 15  # bytes that SSH sends at once
FAILURES = (paramiko.SSHException, EOFError, OSError)


def execute(
    transports: Sequence[paramiko.Transport], command: str, stdin: bytes, *, timeout: float, what: str
) -> Completed:
    """Run a command line to its end; CommandTimeout, and every transport closed, when it does not end in time."""
    with _within(transports, timeout, what), transports[-1].open_session(timeout=timeout) as channel:
        channel.exec_command(_outlasting(command, stdin).encode())
        # All three streams at once: a command may fill one while it waits for another.
        if stdin:
            threading.Thread(target=_feed, args=(channel, stdin), daemon=True).start()
        stderr: list[bytes] = []
        reader = threading.Thread(target=lambda: stderr.append(channel.makefile_stderr("rb").read()), daemon=True)
        reader.start()
        stdout = channel.makefile("rb").read()
        rc = channel.recv_exit_status()
        reader.join()
        if rc == -1 and not transports[-1].is_active():
            raise EOFError("the connection was closed")
        return Completed(rc, stdout, b"".join(stderr))


@contextmanager
def _within(transports: Sequence[paramiko.Transport], timeout: float, what: str) -> Iterator[None]:
    """Close the connection at the deadline: a stopped sshd leaves paramiko no other way out of a wait."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        for transport in reversed(transports):
            transport.close()

    timer = threading.Timer(timeout, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except FAILURES as error:
        if not expired.is_set():
            raise Unreachable(f"SSH broke while running `{what}`: {error or type(error).__name__}") from error
    finally:
        timer.cancel()
    if expired.is_set():
        hint = "The machine is overloaded or frozen, or the command waits for something. Its effect is unknown."
        raise CommandTimeout(f"`{what}` did not end within {timeout:g} s", hint=hint)


def _outlasting(command: str, stdin: bytes) -> str:
    """The command line as one that does not end before all of its input has come.

    What paramiko sends after the end of a channel (https://github.com/paramiko/paramiko/issues/1115) makes sshd close
    the whole connection, and a thread that sends may be late by any time.
    """
    if not stdin:
        return f"exec {command} < /dev/null"
    return shlex.join(["sh", "-c", f"{command}; rc=$?; cat > /dev/null; exit $rc"])


def _feed(channel: paramiko.Channel, stdin: bytes) -> None:
    with suppress(*FAILURES):  # the reader of the output learns of it, too
        _send(channel, stdin)
        channel.shutdown_write()


def _send(channel: paramiko.Channel, data: bytes) -> None:
    """All of the data, in packets: paramiko copies what is left of it for each one it sends."""
    for at in range(0, len(data), PACKET):
        channel.sendall(data[at : at + PACKET])
