"""The rolling engine: passes over the control plane, one node at a time; how every change of a running cluster is made.

A pass has a playbook that changes one node, and a pure predicate that says from a snapshot whether a node is done. The
truth is read from the nodes before every step, so a run that was cut off is taken up by making it again. The invariant:
a node is touched only while its gate is open, and no second node is touched before the first one is done and back.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from cpkit.errors import CpkitError, Interrupted, Refused, Unreachable
from cpkit.facts.snapshot import Snapshot
from cpkit.health import CHECKS, Finding, gate, settle
from cpkit.health.members import leader
from cpkit.health.settle import PAUSE

GATE = 30.0  # seconds a gate may take to open before a node is touched
BACK = 90.0  # seconds a node may take to be done and back after its play has ended


@dataclass(frozen=True)
class Pass:
    """One kind of change, made to every node of the control plane that does not have it yet."""

    name: str  # as a step is called: `Renew leaves`
    playbook: str
    done: Callable[[Snapshot, str], bool]  # pure; asked only of a node that answered
    variables: Mapping[str, Any] = field(default_factory=dict)
    mends: frozenset[str] = frozenset()  # checks of the node itself that do not keep it from being touched
    stops_etcd: bool = False  # the member stops for a moment; if it leads, leadership is handed over before


@dataclass(frozen=True)
class Turn:
    """A pass on a node, which may be touched now."""

    step: Pass
    node: str
    despite: frozenset[str] = frozenset()  # checks that were not well before, so that they say nothing afterwards

    def __str__(self) -> str:
        return f"{self.step.name} on {self.node}"


class Halt:
    """Whether the user wants the run to stop once the node under way is done."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def halting(told: Callable[[], None]) -> Iterator[Halt]:
    """While this lasts, the first Ctrl-C is noted and told, and only the second raises KeyboardInterrupt."""
    halt = Halt()

    def note(_number: int, _frame: FrameType | None) -> None:
        if halt.asked:
            raise KeyboardInterrupt
        halt.asked = True
        told()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield halt
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Engine:
    """What the engine works with: how to look, how to change one node, and how to tell of it."""

    probe: Callable[[], Snapshot]
    play: Callable[[Turn], None]  # raises a CpkitError when the node was not changed as it should be
    step: Callable[[str], AbstractContextManager[None]]  # journals and shows
    halt: Halt
    allow_degraded: bool = False
    step_down: Callable[[Snapshot, str], None] | None = None  # hands leadership on; needed where a pass stops etcd
    gate_wait: float = GATE
    back_wait: float = BACK
    pause: float = PAUSE

    def run(self, passes: Sequence[Pass]) -> tuple[Turn, ...]:
        """Make every pass on every node that is not done; the turns that were taken.

        Refused when a gate stays shut, Unreachable when a node's state is not known, Interrupted when the user asked
        to stop, and whatever the play raises. After any of them, no other node is touched.
        """
        return tuple(turn for step in passes for turn in self._pass(step))

    def _pass(self, step: Pass) -> Iterator[Turn]:
        snapshot, taken = self._look(step), set[str]()
        while waiting := todo(step, snapshot):
            node = _next(waiting, snapshot)
            if node in taken:
                raise CpkitError(
                    f"{step.name}: it was done, and is not any longer", node=node, hint="Look: cpkit health"
                )
            if self.halt.asked:
                raise _halted(waiting)
            snapshot = self._open(step, node, snapshot)
            turn = Turn(step, node, self._despite(snapshot, node))
            if step.stops_etcd and leader(snapshot) == node:
                assert self.step_down is not None  # noqa: S101 - who stops members says how leadership leaves them
                self.step_down(snapshot, node)
            with self.step(str(turn)):
                self.play(turn)
                snapshot = self._back(turn)
            taken.add(node)
            yield turn

    def _look(self, step: Pass) -> Snapshot:
        """A reading in which a node that is not done could be asked; a machine that is only slow is asked again."""
        deadline = time.monotonic() + self.gate_wait
        while True:
            snapshot = self.probe()
            waiting = todo(step, snapshot)
            if not waiting or any(known(snapshot, node) for node in waiting) or time.monotonic() >= deadline:
                return snapshot
            time.sleep(self.pause)

    def _open(self, step: Pass, node: str, snapshot: Snapshot) -> Snapshot:
        """Wait until the node may be touched; the first look is the one that chose it."""
        looks = _Looks(self.probe, snapshot)

        def judge(seen: Snapshot) -> Sequence[Finding]:
            if self.halt.asked:
                raise _halted(todo(step, seen))
            return gate.before(seen, node, allow_degraded=self.allow_degraded, despite=step.mends)

        blocking = [found for found in settle(looks, judge, deadline=self.gate_wait, pause=self.pause) if found.blocks]
        if blocking:
            hint = f"{blocking[0].hint}\n  Nothing was done to {node}. More is told by: cpkit gate before --node {node}"
            raise _gated(blocking, f"{node} may not be touched now", hint)
        return looks.last

    def _despite(self, snapshot: Snapshot, node: str) -> frozenset[str]:
        """In a degraded cluster, what was not well before the change is not held against it."""
        if not self.allow_degraded:
            return frozenset()
        return frozenset(found.check for found in gate.after(snapshot, node) if found.blocks and found.check in CHECKS)

    def _back(self, turn: Turn) -> Snapshot:
        """Wait until the node is done and back."""
        looks = _Looks(self.probe)

        def judge(seen: Snapshot) -> Sequence[Finding]:
            findings = gate.after(seen, turn.node, despite=turn.despite)
            if not known(seen, turn.node) or turn.step.done(seen, turn.node):
                return findings
            return (*findings, Finding("rolling.done", turn.node, "fail", "its play has ended, but it is not done"))

        blocking = [found for found in settle(looks, judge, deadline=self.back_wait, pause=self.pause) if found.blocks]
        if blocking:
            hint = f"{blocking[0].hint}\n  No other node was touched. Look closer with: cpkit health"
            raise _gated(blocking, f"{turn}: the node is not back", hint, failed=CpkitError)
        return looks.last


def todo(step: Pass, snapshot: Snapshot) -> tuple[str, ...]:
    """The nodes that are not known to be done, in the order they are taken: etcd's leader last."""
    nodes = [name for name in snapshot.control_plane if not (known(snapshot, name) and step.done(snapshot, name))]
    leads = leader(snapshot)
    return tuple(sorted(nodes, key=lambda name: name == leads))


def known(snapshot: Snapshot, node: str) -> bool:
    """Whether a node could be asked."""
    return snapshot.nodes[node].host is not None


def _next(waiting: Sequence[str], snapshot: Snapshot) -> str:
    """The first node that can be asked; a node that cannot is never taken for done, and never touched."""
    node = next((name for name in waiting if known(snapshot, name)), "")
    if not node:
        facts = snapshot.nodes[waiting[0]]
        raise Unreachable(f"not known whether it is done: {facts.error}", node=facts.name, hint=facts.hint)
    return node


def _gated(blocking: Sequence[Finding], what: str, hint: str, *, failed: type[CpkitError] = Refused) -> CpkitError:
    first = blocking[0]
    more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
    where = f"{first.node}: " if first.node else ""
    kind = failed if any(found.level == "fail" for found in blocking) else Unreachable
    return kind(f"{what}: {first.check}: {where}{first.text}{more}", hint=hint)


def _halted(waiting: Sequence[str]) -> Interrupted:
    return Interrupted(
        f"stopped before {waiting[0]}, as you asked",
        hint=f"Not done yet: {', '.join(waiting)}. Run the same command again: it goes on there.",
    )


class _Looks:
    """A probe that remembers what it saw last, and may be given its first answer."""

    def __init__(self, probe: Callable[[], Snapshot], first: Snapshot | None = None) -> None:
        self._probe, self._first = probe, first
        self._last: Snapshot | None = None

    def __call__(self) -> Snapshot:
        self._last, self._first = self._first or self._probe(), None
        return self._last

    @property
    def last(self) -> Snapshot:
        assert self._last is not None  # noqa: S101 - asked only after a look
        return self._last
