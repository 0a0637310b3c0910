"""Fresh machines for every measurement, and nothing left of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from cpkit.inventory import Cluster, load
from cpkit.lab import Sizes, down, up

BALANCERS = 2


@contextmanager
def fresh(nodes: int) -> Iterator[Cluster]:
    """A lab of its own that has never run anything, taken down afterwards whatever happens."""
    name = f"bench{nodes}"
    down(name, _quiet)
    try:
        up(name, Sizes(control_plane=nodes, balancers=BALANCERS), _quiet)
        yield load(name)
    finally:
        down(name, _quiet)


def _quiet(what: str, text: str) -> None:
    pass
