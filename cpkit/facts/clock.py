"""How far a node's clock is from the operator's: what one reading says, and which of several to keep; pure."""

from collections.abc import Iterable
from dataclasses import dataclass

NARROW = 0.02  # seconds of doubt that no further sample is worth
MOST_SAMPLES = 10


@dataclass(frozen=True)
class Clock:
    """How far a node's clock is from the operator's, in seconds, give or take `error`."""

    offset: float
    error: float


def reading(node: tuple[float, float], sent: float, back: float) -> Clock:
    """The offset of a clock that showed `node` at some times between `sent` and `back`."""
    low, high = node[1] - back, node[0] - sent
    return Clock(offset=(low + high) / 2, error=(high - low) / 2)


def narrowest(samples: Iterable[Clock]) -> Clock:
    """The sample with the least doubt, of which there has to be one; none is taken after one that is narrow enough."""
    samples = iter(samples)
    best = next(samples)
    for _ in range(MOST_SAMPLES - 1):
        if best.error <= NARROW:
            break
        best = min(best, next(samples, best), key=lambda clock: clock.error)
    return best
