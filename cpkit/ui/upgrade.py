"""An upgrade's plan as a page and as JSON."""

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cpkit.upgrade import UpgradePlan


def page(found: UpgradePlan) -> RenderableType:
    """Every node and component, the order and its reasons, and what forbids it."""
    return Group(_head(found), Text(), _table(found), *_order(found), *_refusals(found))


def to_json(found: UpgradePlan) -> dict[str, Any]:
    """The same for programs."""
    return {
        "cluster": found.cluster,
        "target": {"kubernetes": str(found.target.kubernetes), "etcd": str(found.target.etcd)},
        "begun": found.begun,
        "changes": [asdict(change) for change in found.changes],
        "rounds": [asdict(each) for each in found.rounds],
        "left": list(found.left),
        "remarks": list(found.remarks),
        "refusals": [asdict(refusal) for refusal in found.refusals],
    }


def _head(found: UpgradePlan) -> Text:
    if found.refusals:
        said, style = "refused", "bold red"
    elif not found.rounds:
        said, style = "nothing to do", "green"
    else:
        said, style = ("goes on where it stopped" if found.begun else "may begin"), "green"
    return Text.assemble((found.cluster, "bold"), f" to {found.target}: ", (said, style))


def _table(found: UpgradePlan) -> Table:
    components = list(dict.fromkeys(change.component for change in found.changes))
    table = Table("node", *components, box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for node in dict.fromkeys(change.node for change in found.changes):
        row = {change.component: change for change in found.changes if change.node == node}
        table.add_row(Text(node, "bold"), *(_cell(row[name].running, row[name].target, row[name].done) for name in row))
    return table


def _cell(running: str, target: str, done: bool) -> Text:
    if done:
        return Text(f"= {running}", "green")
    return Text.assemble((running or "?"), " → ", (target, "bold"))


def _order(found: UpgradePlan) -> list[Text]:
    lines = [Text("In this order:")] if found.rounds else []
    for number, each in enumerate(found.rounds, 1):
        lines.append(Text(f" {number}. {' and '.join(each.components)} on {', '.join(each.nodes)}"))
        lines.append(Text(f"    {each.why}", "dim"))
    lines += [Text(f" left for another run: {name}") for name in found.left]
    return lines + [Text(f" ▲ {remark}", "yellow") for remark in found.remarks]


def _refusals(found: UpgradePlan) -> list[Text]:
    """Each reason, and once for all that have it the way out."""
    lines = [Text()] if found.refusals else []
    for hint in dict.fromkeys(each.hint for each in found.refusals):
        for each in (each for each in found.refusals if each.hint == hint):
            where = f"{each.node} " if each.node else ""
            mark = ("?", "magenta") if each.unknown else ("✗", "bold red")
            lines.append(Text.assemble(" ", mark, f" {where}{each.rule}: {each.text}"))
        lines.append(Text(f"   → {hint}", "dim"))
    return lines
