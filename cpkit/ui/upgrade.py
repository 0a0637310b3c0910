"""An upgrade's plan as a page and as JSON."""

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cpkit.upgrade import Change, UpgradePlan, acting, lasting


def page(found: UpgradePlan) -> RenderableType:
    """Every node and component, the order and its reasons, and what forbids it."""
    then = [line for each in found.then for line in (Text(f"Then to {each.target}:", "bold"), *_order(each))]
    return Group(_head(found), Text(), _table(found), *_order(found), *then, *_refusals(found))


def to_json(found: UpgradePlan) -> dict[str, Any]:
    """The same for programs."""
    return {
        "cluster": found.cluster,
        "target": {
            "kubernetes": str(found.target.kubernetes),
            "emulates": found.target.emulates,
            "etcd": str(found.target.etcd),
        },
        "begun": found.begun,
        "changes": [asdict(change) for change in found.changes],
        "rounds": [asdict(each) for each in found.rounds],
        "left": list(found.left),
        "seconds": round(found.seconds, 1),
        "then": [to_json(each) for each in found.then],
        "remarks": list(found.remarks),
        "refusals": [asdict(refusal) for refusal in found.refusals],
    }


def _head(found: UpgradePlan) -> Text:
    if found.refusals:
        said, style = "refused", "bold red"
    elif not found.todo:
        said, style = "nothing to do", "green"
    else:
        said, style = ("goes on where it stopped" if found.begun else "may begin"), "green"
    return Text.assemble((found.cluster, "bold"), f" to {found.end}: ", (said, style))


def _table(found: UpgradePlan) -> Table:
    components = list(dict.fromkeys(change.component for change in found.changes))
    table = Table("node", *components, box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for node in dict.fromkeys(change.node for change in found.changes):
        row = {change.component: change for change in found.changes if change.node == node}
        table.add_row(Text(node, "bold"), *map(_cell, row.values()))
    return table


def _cell(change: Change) -> Text:
    running = acting(change.running or "?", change.emulates)
    if change.done:
        return Text(f"= {running}", "green")
    return Text.assemble(running, " → ", (acting(change.target, change.will_emulate), "bold"))


def _order(found: UpgradePlan) -> list[Text]:
    lines = [Text(f"First etcd's downgrade to {found.cancels} is cancelled.")] if found.cancels else []
    lines += [Text("In this order:")] if found.rounds else []
    for number, each in enumerate(found.rounds, 1):
        lines.append(Text(f" {number}. {' and '.join(each.components)} on {', '.join(each.nodes)}"))
        lines.append(Text(f"    {each.why}", "dim"))
    lines += [Text(f" left for another run: {name}") for name in found.left]
    lines += [Text(f" about {lasting(found.seconds)}, as in earlier runs", "dim")] if found.seconds else []
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
