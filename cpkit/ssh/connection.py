"""A connection to one node: run a command, read a file, tunnel to a port."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cpkit.errors import CpkitError, Unreachable
from cpkit.ssh import sudo as rules
from cpkit.ssh.errors import SudoRefused
from cpkit.ssh.model import Completed

if TYPE_CHECKING:
    from pathlib import Path

    from paramiko import SFTPClient, Transport

    from cpkit.inventory import Node
    from cpkit.ssh.conversation import Conversation
    from cpkit.ssh.pouring import Vessel


def connect(node: "Node", *, timeout: float = 5.0) -> "Connection":
    """A connection to a node, through its jump hosts; Unreachable, with the reason and a hint, if there is none."""
    from cpkit.ssh.dial import dial

    return Connection(node, dial(node, timeout))


class Connection:
    """An open SSH connection; safe to use from several threads."""

    def __init__(self, node: "Node", transports: "tuple[Transport, ...]") -> None:
        self.node = node
        self.user = transports[-1].get_username() or ""
        self._transports = transports
        self._password_checked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether nothing is known of its end."""
        return all(transport.is_active() for transport in self._transports)

    def close(self) -> None:
        """End everything that runs over this connection."""
        for transport in reversed(self._transports):
            transport.close()

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", sudo: bool = False, timeout: float) -> Completed:
        """Run a command and wait for its end, whatever its rc.

        One that outlives its timeout raises CommandTimeout and ends the connection: the node's state is unknown.
        """
        ssh, what = self.node.ssh, shlex.join(argv)
        if not (sudo and ssh.become and self.user != "root"):
            return self._execute(what, stdin, timeout, what)
        # sudo reads a password from the command's own stdin, but only if its rules ask for one: try without first,
        # or the password could end up as the command's input.
        done = self._execute(rules.without_password(argv, fresh=bool(ssh.become_password)), stdin, timeout, what)
        if ssh.become_password and rules.problem(done.rc, done.stdout, done.stderr) is rules.ASKS:
            secret = ssh.become_password.encode() + b"\n"
            self._check_password(secret, timeout)
            done = self._execute(rules.with_password(argv), secret + stdin, timeout, what)
        self._raise_refusal(done)
        return done

    def vessel(self, argv: Sequence[str], *, timeout: float) -> "Vessel":
        """What a stream is poured into: a command as root.

        The stream can be sent but once, so what sudo wants is learnt before, by asking the program for its version.
        """
        from cpkit.ssh.pouring import Vessel

        command, secret = self._as_root(argv, timeout)
        return Vessel(self.node, command, argv[0], secret)

    @contextmanager
    def converse(self, argv: Sequence[str], *, sudo: bool = False, timeout: float) -> Iterator["Conversation"]:
        """Run a command and talk to it line by line; its input ends with the context."""
        command, secret = self._as_root(argv, timeout) if sudo else (shlex.join(argv), b"")
        from cpkit.ssh.conversation import converse

        with converse(self._transports[-1], command, secret, timeout=timeout) as conversation:
            yield conversation

    def _as_root(self, argv: Sequence[str], timeout: float) -> tuple[str, bytes]:
        """A command line that runs argv as root and goes on reading its stdin, and what sudo reads of that first."""
        if not self.node.ssh.become or self.user == "root":
            return shlex.join(argv), b""
        secret = self._password_for([argv[0], "--version"], timeout)
        return (rules.with_password(argv) if secret else rules.without_password(argv)), secret

    def _password_for(self, argv: Sequence[str], timeout: float) -> bytes:
        """What sudo reads before it runs a program; nothing if it asks for nothing."""
        ssh, what = self.node.ssh, shlex.join(argv)
        fresh = bool(ssh.become_password)
        done = self._execute(rules.without_password(argv, fresh=fresh), b"", timeout, what)
        if ssh.become_password and rules.problem(done.rc, done.stdout, done.stderr) is rules.ASKS:
            secret = ssh.become_password.encode() + b"\n"
            self._check_password(secret, timeout)
            return secret
        self._raise_refusal(done)
        return b""

    def read(self, path: str, *, sudo: bool = False, timeout: float) -> bytes:
        """A file's content; CpkitError if it cannot be read."""
        done = self.run(["cat", "--", path], sudo=sudo, timeout=timeout)
        if done.rc != 0:
            reason = done.stderr.decode(errors="replace").strip().removeprefix(f"cat: {path}: ")
            raise CpkitError(f"cannot read {path}: {reason}", node=self.node.name)
        return done.stdout

    def tunnel(self, port: int, host: str = "127.0.0.1") -> AbstractContextManager[tuple[str, int]]:
        """A local (host, port) that leads to a port as the node sees it, for as long as the context lasts."""
        from cpkit.ssh.tunnel import open_tunnel

        return open_tunnel(self._transports[-1], host, port)

    def forward(self, port: int) -> "AbstractContextManager[Path]":
        """A local socket that leads to a port on the node's loopback by OpenSSH's client, for what is large."""
        from cpkit.ssh.forwarding import open_forward

        return open_forward(self.node, port)

    @contextmanager
    def sftp(self, *, timeout: float) -> Iterator["SFTPClient"]:
        """The node's files; no answer may take longer than the timeout."""
        from paramiko import SFTPClient, SSHException

        try:
            client = SFTPClient.from_transport(self._transports[-1])
        except (SSHException, EOFError) as error:
            raise Unreachable(f"it offers no SFTP: {error}", node=self.node.name) from error
        if client is None:
            raise Unreachable("it offers no SFTP", node=self.node.name)
        channel = client.get_channel()
        if channel is not None:
            channel.settimeout(timeout)
        try:
            yield client
        finally:
            with suppress(SSHException, EOFError, OSError):  # the connection may be gone already
                client.close()

    def _execute(self, command: str, stdin: bytes, timeout: float, what: str) -> Completed:
        from cpkit.ssh.execute import execute

        try:
            return execute(self._transports, command, stdin, timeout=timeout, what=what)
        except CpkitError as error:
            error.node = self.node.name
            raise

    def _check_password(self, secret: bytes, timeout: float) -> None:
        # A wrong password must not meet the command's stdin: sudo would take its lines for further guesses.
        if self._password_checked:
            return
        done = self._execute(rules.with_password(["true"]), secret, timeout, "sudo true")
        self._raise_refusal(done)
        if done.rc != 0:
            hint = "Give the right one: --ask-become-pass, or ansible_become_password in the inventory."
            raise SudoRefused(f"the sudo password was refused for user {self.user}", hint=hint, node=self.node.name)
        self._password_checked = True

    def _raise_refusal(self, done: Completed) -> None:
        problem = rules.problem(done.rc, done.stdout, done.stderr)
        if problem is not None:
            raise SudoRefused(problem.text.format(user=self.user), hint=problem.hint, node=self.node.name)
