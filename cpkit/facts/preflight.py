"""Read all of a cluster's machines at once, before anything is changed on them."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cpkit.errors import CpkitError
from cpkit.facts.preflight_probe import CONNECT, READ, Stopped, look, measure, trouble_of
from cpkit.facts.preflight_question import questions
from cpkit.facts.preflight_snapshot import Measured, NodeState, PreflightSnapshot
from cpkit.inventory import Cluster, Node
from cpkit.ssh import Connect, fan_out

DIAL = 4.0  # longer than the kernel's first two retransmissions of a lost SYN
MEASURE = 12.0

Progress = Callable[[str], None]


def collect(
    cluster: Cluster, connect: Connect, *, quick: bool = False, progress: Progress | None = None
) -> PreflightSnapshot:
    """Every node's facts, and unless `quick` what can only be measured. One node's trouble hides no other's facts."""
    say = progress or (lambda _: None)
    states = _look_into(cluster, connect, say)
    if not quick:
        states = _measured(cluster, states, connect, say)
    return PreflightSnapshot(cluster, states, quick)


def _look_into(cluster: Cluster, connect: Connect, say: Progress) -> tuple[NodeState, ...]:
    counter = _Counter(say, len(cluster.nodes), "looking into the nodes")

    def work(node: Node) -> NodeState:
        with counter:
            return look(cluster, node, connect)

    found = fan_out(cluster.nodes, work, deadline=CONNECT + READ)
    return tuple(_state(node, found[node.name]) for node in cluster.nodes)


def _state(node: Node, found: NodeState | CpkitError) -> NodeState:
    return found if isinstance(found, NodeState) else NodeState(node, trouble=trouble_of(found))


def _measured(
    cluster: Cluster, states: tuple[NodeState, ...], connect: Connect, say: Progress
) -> tuple[NodeState, ...]:
    asked: dict[str, dict[str, Any]] = questions(cluster, states, seconds=DIAL)
    counter = _Counter(say, len(asked), "measuring disks and ports")

    def work(node: Node) -> Measured:
        with counter:
            return measure(node, asked[node.name], connect, timeout=MEASURE)

    def attempt(node: Node) -> Measured | str:
        try:
            return work(node)
        except Stopped as stopped:
            return stopped.trouble.text

    found = fan_out([node for node in cluster.nodes if node.name in asked], attempt, deadline=MEASURE)
    return tuple(_with_measured(state, found.get(state.name)) for state in states)


def _with_measured(state: NodeState, found: Measured | str | CpkitError | None) -> NodeState:
    if isinstance(found, Measured):
        return replace(state, measured=found)
    return replace(state, unmeasured=f"the measurements were lost: {found}") if found else state


class _Counter:
    """Tells how many nodes are through."""

    def __init__(self, say: Progress, total: int, doing: str) -> None:
        self._say, self._total, self._doing = say, total, doing
        self._done = 0
        self._lock = threading.Lock()
        self._tell()

    def _tell(self) -> None:
        self._say(f"{self._doing}: {self._done} of {self._total}")

    def __enter__(self) -> None:
        """Nothing to say yet."""

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._done += 1
            self._tell()
