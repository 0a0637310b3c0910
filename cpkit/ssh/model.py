"""What comes back from a node."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Completed:
    """How a command ended; rc is -1 when a signal ended it."""

    rc: int
    stdout: bytes
    stderr: bytes
