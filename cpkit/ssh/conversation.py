"""A command on a node that is talked to line by line while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import paramiko

from cpkit.errors import Unreachable
from cpkit.ssh.errors import CommandTimeout
from cpkit.ssh.execute import FAILURES


class Conversation:
    """A running command that reads lines and answers in lines; each answer has a deadline."""

    def __init__(self, channel: paramiko.Channel, what: str) -> None:
        self._channel, self._what = channel, what
        self._lines = channel.makefile("rb")

    def tell(self, line: str) -> None:
        """Send a line."""
        try:
            self._channel.sendall(line.encode() + b"\n")
        except FAILURES as error:
            raise Unreachable(f"SSH broke while talking to `{self._what}`: {error or type(error).__name__}") from error

    def hear(self, *, timeout: float) -> str:
        """The next line; empty when the command has ended."""
        self._channel.settimeout(timeout)
        try:
            return str(self._lines.readline().decode(errors="replace").rstrip("\n"))
        except TimeoutError as error:
            raise CommandTimeout(f"`{self._what}` said nothing within {timeout:g} s") from error
        except FAILURES as error:
            raise Unreachable(f"SSH broke while listening to `{self._what}`: {error}") from error


@contextmanager
def converse(transport: paramiko.Transport, command: str, secret: bytes, *, timeout: float) -> Iterator[Conversation]:
    """Run a command line for as long as the context lasts; its stdin ends with it. `secret` is what sudo reads."""
    what = command.split(" -c ")[0]
    try:
        channel = transport.open_session(timeout=timeout)
        channel.exec_command(command.encode())
        channel.sendall(secret)
    except FAILURES as error:
        raise Unreachable(f"`{what}` could not be run: {error or type(error).__name__}") from error
    try:
        yield Conversation(channel, what)
    finally:
        with suppress(*FAILURES):
            channel.close()
