"""What the preflight checks share."""

from collections.abc import Iterator

from cpkit.facts.preflight_snapshot import Facts, NodeState, PreflightSnapshot
from cpkit.health.check import Verdict

Verdicts = Iterator[Verdict]


def readable(snapshot: PreflightSnapshot, role: str = "") -> Iterator[tuple[NodeState, Facts]]:
    """The nodes whose facts are known, of one role or of all. The others have a finding that says why not."""
    for state in snapshot.nodes:
        if state.facts and role in ("", state.node.role):
            yield state, state.facts


def names(nodes: list[str]) -> str:
    """`cp1`, `cp1 and cp2`, `cp1, cp2 and cp3`."""
    *most, last = nodes
    return f"{', '.join(most)} and {last}" if most else last


def size(count: float) -> str:
    """Bytes as 512 MB or 23.5 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
