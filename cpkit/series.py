"""Requests over time in bounded memory: a bucket a second, and wider buckets when they become too many."""

from dataclasses import dataclass
from statistics import median

MOST = 600  # buckets kept


@dataclass(frozen=True)
class Series:
    """Buckets of equal width, one after the other; latencies are those of answered requests, in milliseconds."""

    began: float  # seconds since the epoch
    width: float  # seconds
    requests: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    away: tuple[int, ...] = ()
    median: tuple[float | None, ...] = ()  # None where nothing was answered; of two merged buckets, the slower one's
    slowest: tuple[float | None, ...] = ()


@dataclass
class _Bucket:
    requests: int = 0
    failed: int = 0
    away: int = 0
    median: float | None = None
    slowest: float | None = None

    def merged(self, other: "_Bucket") -> "_Bucket":
        return _Bucket(
            self.requests + other.requests,
            self.failed + other.failed,
            self.away + other.away,
            _larger(self.median, other.median),
            _larger(self.slowest, other.slowest),
        )


class Recorder:
    """Puts requests into buckets as they are over."""

    def __init__(self, began: float, *, width: float = 1.0, most: int = MOST) -> None:
        self._began, self._width, self._most = began, width, most
        self._buckets: list[_Bucket] = []
        self._latencies: list[float] = []  # of the last bucket, since it was last merged
        self._merged: float | None = None  # the median that bucket had then

    def add(self, at: float, latency: float | None, *, failed: bool = False, away: bool = False) -> None:
        """A request that was over so many seconds after the beginning, and how long its answer took if it had one."""
        self._reach(at)
        bucket = self._buckets[-1]
        bucket.requests += 1
        bucket.failed += failed
        bucket.away += away
        if latency is not None:
            self._latencies.append(latency * 1000)
            bucket.median = _larger(self._merged, round(median(self._latencies), 1))
            bucket.slowest = _larger(bucket.slowest, round(latency * 1000, 1))

    def series(self) -> Series:
        """All buckets so far."""
        columns = zip(*((b.requests, b.failed, b.away, b.median, b.slowest) for b in self._buckets), strict=True)
        return Series(round(self._began, 3), self._width, *columns)

    def _reach(self, at: float) -> None:
        """Make the bucket of a time the last one."""
        while len(self._buckets) <= int(at / self._width):
            self._buckets.append(_Bucket())
            self._latencies, self._merged = [], None
            if len(self._buckets) > self._most:
                self._widen()

    def _widen(self) -> None:
        pairs = [*self._buckets, _Bucket()] if len(self._buckets) % 2 else self._buckets
        self._buckets = [one.merged(other) for one, other in zip(pairs[::2], pairs[1::2], strict=True)]
        self._width *= 2
        self._merged = self._buckets[-1].median


def _larger(one: float | None, other: float | None) -> float | None:
    return max((each for each in (one, other) if each is not None), default=None)
