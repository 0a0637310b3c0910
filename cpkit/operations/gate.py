"""The two questions of the gate: asked by a user, or by a play before it touches a node and after."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cpkit.errors import Exit
from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, exit_code, settle
from cpkit.health.gate import after, before
from cpkit.health.groups import grouped
from cpkit.inventory import Cluster

READING = 4.0  # seconds one look may take
MAY_NOT = "must stay up"


@dataclass(frozen=True)
class Question:
    """What is asked of one node."""

    stage: Literal["before", "after"]
    node: str
    wait: float = 0.0  # seconds to keep looking until the answer is yes
    allow_degraded: bool = False
    despite: frozenset[str] = frozenset()


def answer(cluster: Cluster, asked: Question, given_up: Callable[[], bool] = lambda: False) -> tuple[Finding, ...]:
    """The findings of the last look; UsageError when there is no such node or check."""

    def judge(snapshot: Snapshot) -> tuple[Finding, ...]:
        if given_up():
            return ()
        if asked.stage == "before":
            return before(snapshot, asked.node, allow_degraded=asked.allow_degraded, despite=asked.despite)
        return after(snapshot, asked.node, despite=asked.despite)

    return settle(lambda: collect(cluster, deadline=READING), judge, deadline=asked.wait)


def told(asked: Question, findings: tuple[Finding, ...]) -> str:
    """The answer in words, and what speaks against it."""
    words = {
        "before": {Exit.OK: "may be taken down", Exit.REFUSED: MAY_NOT, Exit.UNKNOWN: MAY_NOT},
        "after": {Exit.OK: "is back", Exit.REFUSED: "is not back", Exit.UNKNOWN: "may not be back"},
    }
    code = exit_code(findings)
    lines = [f"{asked.node} {words[asked.stage][code]}"]
    shown = [found for found in findings if found.blocks or (code == Exit.OK and found.check == "gate.floor")]
    for group in grouped(shown):
        first = group[0]
        where = f"{first.node}: " if first.node not in {"", asked.node} else ""
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        lines.append(f"  {first.check}{more}: {where}{first.text}")
        if first.hint:
            lines.append(f"    {first.hint}")
    return "\n".join(lines)
