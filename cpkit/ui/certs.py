"""The list of credentials: one line for what is alike on several nodes, or a line each."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cpkit.facts.snapshot import Snapshot
from cpkit.health.credentials import Credential, credentials, ends_first
from cpkit.health.finding import Finding
from cpkit.health.quorum import plural
from cpkit.ui.health import findings_table
from cpkit.ui.marks import MARKS

TITLES = {
    "leaf": "Leaves",
    "kubeconfig": "Kubeconfigs",
    "ca": "CAs",
    "key": "Keys",
    "memory": "In memory",
    "unknown": "Not known",
}


ROOM = 96  # columns from which there is room to say who uses what


def page(snapshot: Snapshot, findings: Sequence[Finding], *, width: int, wide: bool = False) -> RenderableType:
    """The list for a terminal of `width` columns, and what is to be said about it."""
    found = credentials(snapshot)
    table = _wide(found) if wide else _grouped(found, users=width >= ROOM)
    return Group(_headline(snapshot, found), Text(), table, Text(), findings_table(findings, everything=False))


def _headline(snapshot: Snapshot, found: tuple[Credential, ...]) -> Text:
    text = Text.assemble((snapshot.plan.cluster, "bold"), f": {len(found)} certificates and keys")
    if (first := ends_first(found)) is not None:
        text.append(f"; {first.name} on {first.node} ends first: {_ends(first)}")
    return text


def _grouped(found: Iterable[Credential], *, users: bool) -> Table:
    table = _table("", "name", "nodes", "ends in", "in use", *(["used by"] if users else []))
    if users:
        table.columns[-1].no_wrap, table.columns[-1].ratio = False, 1
    groups: dict[tuple[str, ...], list[Credential]] = {}
    for each in found:
        key = (each.kind, each.name, each.level, _ends(each), each.signed_by, each.fingerprint * (each.kind == "key"))
        groups.setdefault((*key, each.key, each.served, each.accepted, each.error), []).append(each)
    kind = ""
    for (now, *_), group in groups.items():
        if now != kind:
            kind = now
            table.add_row("", Text(TITLES[kind], "dim"))
        first = group[0]
        nodes = [each.node for each in group]
        table.add_row(
            Text(*MARKS[first.level]),
            first.name,
            " ".join(nodes) if len(nodes) <= 3 else f"{len(nodes)} nodes",
            _left(first),
            _use(first),
            *([_used_by(first)] if users else []),
        )
    return table


def _wide(found: Iterable[Credential]) -> Table:
    table = _table("", "node", "name", "ends in", "subject", "issuer", "names", "serial", "key", "in use", "used by")
    for each in found:
        table.add_row(
            Text(*MARKS[each.level]),
            each.node,
            each.name,
            _left(each),
            each.subject or each.fingerprint,
            each.issuer,
            Text(" ".join(each.sans)),
            each.serial,
            each.key,
            _use(each),
            _used_by(each),
        )
    for column in table.columns[4:]:
        column.overflow, column.no_wrap = "fold", False
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _ends(each: Credential) -> str:
    if each.days_left is None:
        return ""
    days = int(abs(each.days_left))
    if each.days_left < 0:
        return f"ended {days} d ago"
    return f"{days} {plural('day', days)}"


def _left(each: Credential) -> Text:
    return Text(_ends(each), MARKS[each.level][1] if each.level in {"warn", "fail"} else "")


def _use(each: Credential) -> Text:
    """Where it is served and whether it is accepted; what is neither shown nor asked is left out."""
    words = {"yes": "", "no": "not ", "unknown": "? "}
    parts = [f"{words[each.served]}served {' '.join(each.ports)}"] if each.served else []
    parts += [f"{words[each.accepted]}accepted"] if each.accepted and each.served != "unknown" else []
    bad = "no" in {each.served, each.accepted}
    return Text(", ".join(parts), MARKS["fail"][1] if bad else "")


def _used_by(each: Credential) -> Text:
    if each.error:
        return Text(each.error, MARKS[each.level][1])
    if each.key in {"mismatch", "unreadable"} or (each.key == "absent" and each.kind != "ca"):
        return Text(f"its key: {each.key}", MARKS["fail"][1])
    if each.foreign:
        return Text(f"signed by {each.signed_by or 'a CA that is not there'}", MARKS["fail"][1])
    return Text(f"{each.used_by}; {each.fingerprint[:8]}" if each.kind == "key" else each.used_by, "dim")
