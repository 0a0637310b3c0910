"""A plan in lines, for whoever reads it or has to agree to it; pure."""

from collections.abc import Iterator
from difflib import unified_diff

from cpkit.drift.change import Change, Diff
from cpkit.drift.plan import DriftPlan

NOTHING = "every node has what the inventory asks for"


def told(found: DriftPlan) -> list[str]:
    """What differs, once for all nodes that have it alike; the order; and what forbids it."""
    lines = [f"{found.cluster}: {_head(found)}", ""]
    alike: dict[tuple[object, ...], list[Change]] = {}
    for change in found.changes:
        alike.setdefault((change.component, change.action, change.why, *details(change)), []).append(change)
    for (component, action, *_), changes in alike.items():
        lines.append(f"{', '.join(sorted(change.node for change in changes))}: {component}: {action}{_why(changes[0])}")
        lines += [f"    {line}" for line in details(changes[0])]
    lines += ["", "In this order:"] if found.rounds else []
    for number, each in enumerate(found.rounds, 1):
        lines += [f"  {number}. {', '.join(each.actions)} on {', '.join(each.nodes)}", f"     {each.why}"]
    lines += ["", f"Left for another run: {', '.join(found.left)}"] if found.left else []
    return lines + list(_refusals(found))


def details(change: Change) -> tuple[str, ...]:
    """The files that differ, and how."""
    shown = {diff.path: diff for diff in change.diffs}
    return tuple(line for path in change.paths for line in (path, *(_lines(shown[path]) if path in shown else ())))


def _lines(diff: Diff) -> Iterator[str]:
    """The difference of a file; of a unit its flags alone, which are the same on all nodes wherever they stand."""
    flags = diff.path.endswith(".service")
    lines = list(unified_diff(diff.before.splitlines(), diff.after.splitlines(), lineterm="", n=0 if flags else 1))[2:]
    for line in lines:
        if not (flags and line.startswith("@@")):
            yield f"  {line.removesuffix(' ' + chr(92))}"


def _head(found: DriftPlan) -> str:
    if not found.drifted:
        return NOTHING
    nodes = {change.node for change in found.changes} | set(found.left)
    differ = f"{len(nodes)} {'node differs' if len(nodes) == 1 else 'nodes differ'} from the inventory"
    if not found.refusals:
        return differ
    return f"{differ if nodes else 'what runs is not what the inventory asks for'}; it is not changed in place"


def _why(change: Change) -> str:
    return f" ({change.why})" if change.why else ""


def _refusals(found: DriftPlan) -> Iterator[str]:
    for hint in dict.fromkeys(each.hint for each in found.refusals):
        yield ""
        for each in found.refusals:
            if each.hint == hint:
                yield f"✗ {f'{each.node}: ' if each.node else ''}{each.text}"
        yield f"  → {hint}"
