"""Where everything stands on a run's page: lanes of nodes, and the API's latency below them, over one axis of time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cpkit.runs.record import Record, Step

WIDTH, LEFT, RIGHT = 1100.0, 120.0, 20.0
LANE, BAR, STRIP = 38.0, 18.0, 6.0
TOP, GAP, CHART = 8.0, 34.0, 130.0
COLOURS = 6  # kinds of bars that have a colour of their own
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400)
MOST_TICKS = 12


@dataclass(frozen=True)
class Box:
    """A rectangle, its class in the style sheet, and what it says when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str = ""
    text: str = ""


@dataclass(frozen=True)
class Mark:
    """A text at a place."""

    x: float
    y: float
    text: str
    title: str = ""


@dataclass(frozen=True)
class Chart:
    """Latency and failures over time."""

    top: float
    bottom: float
    limit: float  # milliseconds at its top
    median: tuple[str, ...]  # the points of polylines
    slowest: tuple[str, ...]
    failures: tuple[Box, ...]


@dataclass(frozen=True)
class Drawing:
    """All of it."""

    width: float
    height: float
    left: float
    right: float
    lanes: tuple[Mark, ...]
    bars: tuple[Box, ...]
    strips: tuple[Box, ...]  # how each node's own server answered
    reigns: tuple[Box, ...]  # while a node led etcd
    leaders: tuple[Mark, ...]
    ticks: tuple[Mark, ...]
    legend: tuple[tuple[str, str], ...]  # class, what it stands for
    chart: Chart | None


class _Axis:
    def __init__(self, record: Record) -> None:
        self.began, self.ended = record.began, max(record.ended, record.began + 0.1)
        self._scale = (WIDTH - LEFT - RIGHT) / (self.ended - self.began)

    def x(self, at: float) -> float:
        return round(LEFT + (min(max(at, self.began), self.ended) - self.began) * self._scale, 1)

    def box(self, began: float, ended: float, y: float, height: float, kind: str, **words: str) -> Box:
        left = self.x(began)
        return Box(left, y, max(round(self.x(ended) - left, 1), 1.0), height, kind, **words)

    def ticks(self, y: float) -> Iterator[Mark]:
        span = self.ended - self.began
        every = next((each for each in TICKS if span / each <= MOST_TICKS), span)
        for number in range(int(span / every) + 1):
            seconds = number * every
            yield Mark(self.x(self.began + seconds), y, f"{seconds:g} s" if span < 600 else f"{seconds / 60:g} min")


def lay_out(record: Record) -> Drawing:
    """The drawing of a run."""
    axis = _Axis(record)
    nodes = sorted({step.node for step in record.turns} | set(record.directly))
    y = {name: TOP + LANE * number for number, name in enumerate(["", *nodes])}
    bottom = TOP + LANE * len(y)
    kinds = {what: f"bar{number % COLOURS}" for number, what in enumerate(dict.fromkeys(s.what for s in record.turns))}
    chart = _chart(record, axis, bottom + GAP)
    end = chart.bottom if chart else bottom
    return Drawing(
        width=WIDTH,
        height=end + GAP,
        left=LEFT,
        right=WIDTH - RIGHT,
        lanes=tuple(Mark(LEFT - 10, top + BAR - 4, name or "all nodes") for name, top in y.items()),
        bars=tuple(_bar(step, axis, y[step.node], kinds) for step in record.steps),
        strips=tuple(_strips(record, axis, y)),
        reigns=tuple(_reigns(record, axis, y)),
        leaders=tuple(_leaders(record, axis, y)),
        ticks=tuple(axis.ticks(end + 18)),
        legend=tuple((kind, what) for what, kind in kinds.items()),
        chart=chart,
    )


def _bar(step: Step, axis: _Axis, y: float, kinds: Mapping[str, str]) -> Box:
    kind = kinds.get(step.what, "shared") if step.node else "shared"
    kind += "" if step.outcome == "done" else f" {step.outcome.replace(' ', '-')}"
    title = f"{step.name}: {step.outcome}, {step.seconds:.1f} s"
    return axis.box(step.began, step.ended, y, BAR, kind, title=title, text=step.what)


def _strips(record: Record, axis: _Axis, y: Mapping[str, float]) -> Iterator[Box]:
    for node, seen in record.directly.items():
        if not seen.get("reached"):
            continue
        buckets = list(_buckets(seen.get("series")))
        for (kind, word), group in groupby(buckets, key=_state):
            run = list(group)
            title = f"{node}: {word}, {run[0].at - record.began:.0f} to {run[-1].until - record.began:.0f} s"
            yield axis.box(run[0].at, run[-1].until, y[node] + BAR + 2, STRIP, kind, title=title)


def _reigns(record: Record, axis: _Axis, y: Mapping[str, float]) -> Iterator[Box]:
    ends = [*(each.at for each in record.leaders[1:]), record.ended]
    for leader, ended in zip(record.leaders, ends, strict=False):
        if leader.node in y and leader.node:
            title = f"{leader.node} led etcd in term {leader.term}"
            yield axis.box(leader.at, ended, y[leader.node] + BAR + STRIP + 4, 4, "reign", title=title)


def _leaders(record: Record, axis: _Axis, y: Mapping[str, float]) -> Iterator[Mark]:
    for before, leader in zip(record.leaders, record.leaders[1:], strict=False):
        title = f"{leader.node or 'nobody'} leads etcd after {before.node or 'nobody'}, term {leader.term}"
        yield Mark(axis.x(leader.at), y.get(leader.node, TOP) + BAR + STRIP + 6, "◆", title)


@dataclass(frozen=True)
class _Bucket:
    at: float
    until: float
    requests: int
    failed: int
    away: int
    median: float | None
    slowest: float | None


def _buckets(series: Any) -> Iterator[_Bucket]:
    """What a report says of a series; nothing when it does not make sense."""
    try:
        began, width = float(series["began"]), float(series["width"])
        columns = [series[name] for name in ("requests", "failed", "away", "median", "slowest")]
    except (KeyError, TypeError, ValueError):
        return
    for number, row in enumerate(zip(*columns, strict=False)):
        yield _Bucket(began + number * width, began + (number + 1) * width, *row)


def _state(bucket: _Bucket) -> tuple[str, str]:
    if bucket.failed:
        return "bad", "its API server failed"
    if bucket.away:
        return "away", "its API server failed in the node's own turn"
    return ("good", "its API server answered") if bucket.requests else ("none", "no request was over")


def _chart(record: Record, axis: _Axis, top: float) -> Chart | None:
    buckets = list(_buckets(record.availability.get("series")))
    if not buckets:
        return None
    highest = max((each.slowest for each in buckets if each.slowest is not None), default=1.0)
    limit = next(
        unit * ten for ten in (1, 10, 100, 1000, 10000) for unit in (1, 2, 5) if unit * ten >= min(highest, 5e4)
    )
    bottom = top + CHART

    def lines(name: str) -> Iterator[str]:
        for there, group in groupby(buckets, key=lambda each: getattr(each, name) is not None):
            if there:
                yield _polyline([(each, float(getattr(each, name))) for each in group])

    def _polyline(points: Sequence[tuple[_Bucket, float]]) -> str:
        places = [(axis.x((b.at + b.until) / 2), bottom - min(value / limit, 1.0) * CHART) for b, value in points]
        if len(places) == 1:  # a line of one point would not be seen
            places = [(places[0][0] - 1, places[0][1]), (places[0][0] + 1, places[0][1])]
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)

    failures = tuple(
        axis.box(
            each.at,
            each.until,
            top,
            CHART,
            "failure",
            title=f"{each.failed} of {each.requests} requests failed at {each.at - record.began:.0f} s",
        )
        for each in buckets
        if each.failed
    )
    return Chart(top, bottom, limit, tuple(lines("median")), tuple(lines("slowest")), failures)
