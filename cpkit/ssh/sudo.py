"""How commands are run as root, and what sudo's refusals mean."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

NOT_FOUND = 127


@dataclass(frozen=True)
class Problem:
    """Why sudo did not run a command; `{user}` stands for who asked."""

    text: str
    hint: str


ASKS = Problem("sudo asks {user} for a password", "Give it with --ask-become-pass, or let the user sudo without one.")
_FORBIDS = Problem("{user} may not use sudo", "Add a sudo rule for that user, or log in as root.")
_WANTS_TTY = Problem("sudo wants a terminal", "Take `Defaults requiretty` out of the machine's sudoers.")
_MISSING = Problem("sudo is not installed", "Install it, or log in as root.")

# What sudo says when it runs nothing.
_TEXTS = {
    "a password is required": ASKS,
    "authentication is required": ASKS,
    "not in the sudoers file": _FORBIDS,
    "is not allowed to execute": _FORBIDS,
    "may not run sudo": _FORBIDS,
    "must have a tty": _WANTS_TTY,
}

# sudo's messages are read, so they must not be translated.
_SUDO = ("env", "LC_ALL=C", "sudo")


def without_password(argv: Sequence[str], *, fresh: bool = False) -> str:
    """The command line that runs argv as root or fails at once; `fresh` takes no notice of an earlier password."""
    return shlex.join([*_SUDO, *(["-k"] if fresh else []), "-n", "--", *argv])


def with_password(argv: Sequence[str]) -> str:
    """The command line that reads the password as the first line of stdin, and leaves the rest to argv."""
    return shlex.join([*_SUDO, "-k", "-S", "-p", "", "--", *argv])


def problem(rc: int, stdout: bytes, stderr: bytes) -> Problem | None:
    """Why sudo ran nothing, or None if the command itself was run."""
    text = stderr.decode(errors="replace")
    if rc == NOT_FOUND and text.startswith("env: ") and "sudo" in text:
        return _MISSING
    if rc != 1 or stdout:
        return None
    return next((found for part, found in _TEXTS.items() if part in text), None)
