"""One run as its directory tells it: the journal first, which survives a crash, and the report where there is one."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cpkit.journal import is_going_on, read_events

Outcome = Literal["done", "failed", "interrupted", "cut off", "going on"]
ENDS = {"done", "failed", "interrupted"}
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """A step of a run; one that has no end has the run's own outcome."""

    name: str
    began: float
    ended: float
    outcome: str

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began

    @property
    def node(self) -> str:
        """The node whose turn it was, and "" for a step that is not about one node."""
        _, on, node = self.name.rpartition(" on ")
        return node if on and " " not in node else ""

    @property
    def what(self) -> str:
        """What was done, without the node."""
        return self.name.removesuffix(f" on {self.node}") if self.node else self.name


@dataclass(frozen=True)
class Leader:
    """The leader of etcd as the run saw it from a time on."""

    at: float
    node: str
    term: int


@dataclass(frozen=True)
class Record:
    """A run; times are seconds since the epoch."""

    cluster: str
    name: str
    directory: Path
    operation: str
    began: float
    ended: float  # the last sign of life; now, of a run that goes on
    outcome: Outcome
    owner: str = ""
    reason: str = ""
    hint: str = ""
    steps: tuple[Step, ...] = ()
    changed: Mapping[str, int] = field(default_factory=dict)  # host -> tasks that changed something on it
    leaders: tuple[Leader, ...] = ()
    command: str = ""  # the equivalent ansible-playbook line
    words: tuple[str, ...] = ()  # what cpkit was called with, and where; none of a cpkit that did not note it
    folder: str = ""
    owes: bool = False  # whether it wrote down what it replaces, and not that this is done
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it took, as far as is known."""
        return self.ended - self.began

    @property
    def turns(self) -> tuple[Step, ...]:
        """The steps that were about one node each."""
        return tuple(step for step in self.steps if step.node)

    @property
    def availability(self) -> Mapping[str, Any]:
        """What the watch saw; empty when there was none, or the run did not come to report it."""
        found = self.report.get("availability")
        return found if isinstance(found, Mapping) else {}

    @property
    def kept(self) -> Mapping[str, Any] | None:
        """What requests on a kept connection saw, if that is known."""
        return self._seen("kept", "requests", "failed", "longest_gap")

    @property
    def followed(self) -> Mapping[str, Any] | None:
        """How a watch of a resource did, if there was one."""
        return self._seen("followed", "cut", "longest_gap")

    def _seen(self, kind: str, *names: str) -> Mapping[str, Any] | None:
        found = self.availability.get(kind)
        whole = isinstance(found, dict) and all(isinstance(found.get(name), int | float) for name in names)
        return found if whole else None

    @property
    def directly(self) -> Mapping[str, Mapping[str, Any]]:
        """What the watch saw of each node."""
        found = self.availability.get("nodes")
        return found if isinstance(found, Mapping) else {}


def read(directory: Path) -> Record | None:
    """A run from its directory; None when no run ever began there."""
    events = tuple(read_events(directory))
    if not events:
        return None
    cluster, begun = directory.parent.parent.name, events[0]
    report = _report(directory)
    outcome, reason, hint = _end(cluster, events, report)
    began, ended = float(begun["at"]), time.time() if outcome == "going on" else float(events[-1]["at"])
    return Record(
        cluster=cluster,
        name=directory.name,
        directory=directory,
        operation=str(begun.get("operation") or directory.name.partition("Z-")[2]),
        began=began,
        ended=ended,
        outcome=outcome,
        owner=str(begun.get("owner", "")),
        reason=reason,
        hint=hint,
        steps=tuple(_steps(events, ended, outcome)),
        changed={} if report.get("dry_run") else _changed(events),
        leaders=tuple(
            Leader(float(each["at"]), str(each.get("node", "")), int(each.get("term", 0)))
            for each in events
            if each["event"] == "leader"
        ),
        command=str(next((each["command"] for each in (report, *events) if each.get("command")), "")),
        words=tuple(map(str, begun.get("words", ()))),
        folder=str(begun.get("folder", "")),
        owes={"target", "finished"} & {each["event"] for each in events} == {"target"},
        report=report,
    )


def _end(cluster: str, events: Sequence[Event], report: Event) -> tuple[Outcome, str, str]:
    last = events[-1]
    if last["event"] == "ended" and last.get("outcome") in ENDS:
        return last["outcome"], str(last.get("message", "")), str(last.get("hint", ""))
    if is_going_on(cluster, int(events[0].get("pid", 0))):
        return "going on", "", ""
    under_way = list(_open(events))
    where = f"its process died during: {under_way[-1]}" if under_way else "its process died"
    if report and not under_way:
        return "done", "", ""  # written by a cpkit that did not journal the end
    return "cut off", where, "Run the same command again: it looks, and goes on where it stopped."


def _open(events: Iterable[Event]) -> dict[str, float]:
    """The steps that were begun and not ended, and when they began."""
    begun: dict[str, float] = {}
    for event in events:
        name = str(event.get("step", ""))
        if event["event"] == "started":
            begun[name] = float(event["at"])
        elif event["event"] in ENDS:
            begun.pop(name, None)
    return begun


def _steps(events: Sequence[Event], ended: float, outcome: Outcome) -> list[Step]:
    begun: dict[str, float] = {}
    steps = []
    for event in events:
        name, at = str(event.get("step", "")), float(event["at"])
        if event["event"] == "started":
            begun[name] = at
        elif event["event"] in ENDS and name in begun:
            steps.append(Step(name, begun.pop(name), at, event["event"]))
    steps += [Step(name, began, ended, outcome) for name, began in begun.items()]
    return sorted(steps, key=lambda step: step.began)


def _changed(events: Iterable[Event]) -> dict[str, int]:
    changed: dict[str, int] = {}
    for event in events:
        if event["event"] == "host" and event.get("state") == "changed":
            host = str(event.get("host", ""))
            changed[host] = changed.get(host, 0) + 1
    return dict(sorted(changed.items()))


def _report(directory: Path) -> Event:
    try:
        found = json.loads((directory / "report.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
