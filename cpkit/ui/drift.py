"""A comparison with the inventory as a page and as JSON."""

from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cpkit.drift import DriftPlan, told
from cpkit.drift.words import details

STYLES = {"+": "green", "-": "red", "@": "dim", "✗": "bold red", "→": "dim"}


def page(found: DriftPlan) -> RenderableType:
    """The plan, its differences coloured."""
    head, *rest = told(found)
    style = "bold red" if found.refusals else "bold yellow" if found.drifted else "bold green"
    return Group(Text(head, style), *(Text(line, _style(line)) for line in rest))


def to_json(found: DriftPlan) -> dict[str, Any]:
    """The same for programs; differences are lines as a person reads them."""
    changes = [
        {
            "node": each.node,
            "component": each.component,
            "action": each.action,
            "paths": list(each.paths),
            "why": each.why,
            "diff": list(details(each)),
        }
        for each in found.changes
    ]
    return {
        "cluster": found.cluster,
        "drift": found.drifted,
        "changes": changes,
        "rounds": [asdict(each) for each in found.rounds],
        "left": list(found.left),
        "refusals": [asdict(each) for each in found.refusals],
    }


def _style(line: str) -> str:
    if line and not line.startswith(" ") and line[0] not in STYLES:
        return "bold"
    return STYLES.get(line.strip()[:1], "")
