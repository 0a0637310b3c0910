"""What a measurement of backups yields, and what it is held to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RATIO_BOUND = 0.7  # of etcdctl's throughput, at least
RESTORE_BOUND, DRILL_BOUND = 30.0, 20.0  # seconds
MEMORY_BOUND = 150.0  # MB


@dataclass(frozen=True)
class Turn:
    """A backup by each side, and what became of cpkit's; loads are those of the machine as each began."""

    size_mb: float
    etcdctl_mb_per_second: float  # onto the node's own disk
    fetched_mb_per_second: float  # and then here, by scp
    etcdctl_load: float
    cpkit_mb_per_second: float  # from the member into the store, verified and sealed
    cpkit_load: float
    command_seconds: float
    peak_mb: float
    verify_seconds: float
    verify_peak_mb: float
    drill_seconds: float  # from the store to an API that served
    drill_command_seconds: float
    drill_peak_mb: float
    drill_load: float

    @property
    def ratio(self) -> float:
        """Of etcdctl's throughput onto the node's own disk."""
        return self.cpkit_mb_per_second / self.etcdctl_mb_per_second

    @property
    def fetched_ratio(self) -> float:
        """Of the throughput of etcdctl and scp, which end where cpkit does."""
        return self.cpkit_mb_per_second / self.fetched_mb_per_second


@dataclass(frozen=True)
class Restore:
    """The last backup brought back onto all nodes."""

    seconds: float  # of the whole command, with the proof of the backup and of what came back
    ready_seconds: float  # until the API servers were ready
    steps: Mapping[str, float]
    peak_mb: float
    ansible_mb: float
    load: float


@dataclass(frozen=True)
class Backups:
    """All of one run."""

    date: str
    turns: Sequence[Turn]
    restores: Sequence[Restore]


def read(path: Path) -> Backups:
    """Numbers that were kept before."""
    body = json.loads(path.read_text())
    turns, restores = [Turn(**each) for each in body["turns"]], [Restore(**each) for each in body["restores"]]
    return Backups(**body | {"turns": turns, "restores": restores})
