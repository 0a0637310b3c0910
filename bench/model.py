"""What a measurement yields, and how repeated ones are summed up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

TIMES = "\N{MULTIPLICATION SIGN}"
MULTIPLE_BOUND = 3.0
SECOND_RUN_BOUND = 10.0  # seconds
HEALTH_BOUND = 2.0  # seconds
MEMORY_BOUND = 150.0  # MB


@dataclass(frozen=True)
class Floor:
    """A cluster brought up by hand; seconds from the first key to each point."""

    laid_down: float  # every node has its files, and its units were told to start
    api_ready: float  # every API server
    leases_held: float
    endpoint_ready: float

    @property
    def seconds(self) -> float:
        """Until all of it holds."""
        return max(self.api_ready, self.leases_held, self.endpoint_ready)


@dataclass(frozen=True)
class Bootstrap:
    """The same by `cpkit bootstrap --yes`."""

    seconds: float  # wall time of the command
    steps: Mapping[str, float]  # from its report.json
    roles: Mapping[str, float]  # from its journal: how long each role was under way
    ready_after: float  # seconds after its end until the floor's own condition was seen to hold
    changed: int
    cpkit_mb: float
    ansible_mb: float  # the largest of Ansible's processes


@dataclass(frozen=True)
class Round:
    """One floor and one bootstrap, each on fresh machines, and what was asked of the second cluster."""

    nodes: int
    floor: Floor
    bootstrap: Bootstrap
    second: Bootstrap
    health: Sequence[float]
    health_mb: float
    etcdctl: Sequence[float]

    @property
    def multiple(self) -> float:
        """Bootstrap in units of the floor of the same round."""
        return self.bootstrap.seconds / self.floor.seconds


@dataclass(frozen=True)
class Start:
    """How long `cpkit --version` takes."""

    seconds: Sequence[float]


@dataclass(frozen=True)
class Results:
    """All of one run of the bench."""

    date: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    start: Start
    rounds: Sequence[Round]

    def of(self, nodes: int) -> list[Round]:
        """The rounds of one size."""
        return [one for one in self.rounds if one.nodes == nodes]

    @property
    def sizes(self) -> list[int]:
        """The sizes measured."""
        return sorted({one.nodes for one in self.rounds})


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median, with the smallest and largest where they differ, as `10.1 (9.8-11.0)`."""
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    middle = f"{median(values):.{digits}f}"
    return middle if low == high else f"{middle} ({low}-{high})"
