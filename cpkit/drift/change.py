"""What differs on a node, read from the events of a play that only compares; pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Event = Mapping[str, Any]
SIGNED = "leaves"
# What the changes of a role are called where no unit runs the files.
PARTS = {"node": "files", "artifacts": "binaries", "pki": "PKI", "load_balancer": "packages"}


@dataclass(frozen=True)
class Diff:
    """A file as it is and as it will be; of a secret one only that it differs."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Change:
    """What differs in one component of one node."""

    node: str
    component: str  # the unit that runs it, without its ending; else what the files are
    action: str  # restart, reload, start, enable, renew; "lay down" where nothing of the kind is needed
    paths: tuple[str, ...] = ()
    why: str = ""  # set when no file of it differs
    diffs: tuple[Diff, ...] = ()


def changes_of(events: Iterable[Event]) -> tuple[Change, ...]:
    """The changes that a play in check mode announced."""
    return tuple(_changes(events))


def leaf_changes(due: Mapping[str, Mapping[str, str]]) -> tuple[Change, ...]:
    """The same of leaves: node -> leaf -> why it is renewed."""
    return tuple(
        Change(node, SIGNED, "renew", tuple(leaves), "; ".join(dict.fromkeys(leaves.values())) or "only to be verified")
        for node, leaves in due.items()
    )


def _changes(events: Iterable[Event]) -> Iterator[Change]:
    role = task = ""
    for event in events:
        if event["event"] == "task":
            role, task = str(event["role"]), str(event["name"])
        elif event["event"] == "host":
            yield from _on_host(event, role, task)


def _on_host(event: Event, role: str, task: str) -> Iterator[Change]:
    node, paths = str(event["host"]), tuple(map(str, event.get("paths", ())))
    diffs = [_diff(each) for each in event.get("diff", ())]
    if role == "pki":  # a task with keys tells that it would change something, and the next one which files
        if paths:
            yield Change(node, PARTS[role], "lay down", paths)
        return
    if event["state"] != "changed":
        return
    units = event.get("units", ())
    for each in units:
        mine = tuple(map(str, each["paths"]))
        component = str(each["unit"]).removesuffix(".service")
        its = tuple(diff for diff in diffs if diff.path in mine)
        yield Change(node, component, str(each["action"]), mine, str(each["why"]), its)
    if not units:
        # Without files, as the binding of the administrators' group, the task itself says what it is about.
        part = PARTS.get(role, role.replace("_", "-"))
        yield Change(node, part, "lay down", paths, "" if paths else task, tuple(diffs))


def _diff(told: Mapping[str, Any]) -> Diff:
    return Diff(str(told.get("after_header", "")), str(told.get("before", "")), str(told.get("after", "")))
