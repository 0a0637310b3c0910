"""The errors cpkit shows to its user, and the exit codes they end in."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3  # a gate refused or the cluster is not healthy; nothing was changed
    UNKNOWN = 4  # a node's state could not be learnt
    LOCKED = 75  # another run holds the lock; try again
    INTERRUPTED = 130


class CpkitError(Exception):
    """What went wrong, on which node, and what to do next."""

    code = Exit.FAILED

    def __init__(self, message: str, *, hint: str = "", node: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.node = node

    def __str__(self) -> str:
        return f"{self.node}: {self.message}" if self.node else self.message


class UsageError(CpkitError):
    """The user's input is wrong; nothing was touched."""

    code = Exit.USAGE


class Refused(CpkitError):
    """A gate or a check refused; nothing was changed."""

    code = Exit.REFUSED


class Unreachable(CpkitError):
    """A node did not answer, so its state is unknown."""

    code = Exit.UNKNOWN


class Interrupted(CpkitError):
    """The user pressed Ctrl-C."""

    code = Exit.INTERRUPTED


class Locked(CpkitError):
    """Another run holds the cluster's lock."""

    code = Exit.LOCKED
