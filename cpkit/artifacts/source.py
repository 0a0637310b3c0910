"""What a source of binaries is to the chain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cpkit.artifacts.model import Target
from cpkit.artifacts.progress import Progress
from cpkit.artifacts.record import Origin
from cpkit.errors import CpkitError


@dataclass(frozen=True)
class Fetched:
    """What a source laid down: where it came from, and the checksums it was published with, if any."""

    origin: Origin
    expected: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Somewhere binaries come from."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def fetch(self, target: Target, staging: Path, workspace: Path, progress: Progress) -> Fetched:
        """Lay every binary of the target into `staging`; what may be resumed stays in `workspace`."""


class Tampered(CpkitError):
    """What was fetched is not what was published; no other source is tried after it."""
