"""etcd's members as tables and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cpkit.facts.snapshot import MemberRow, MemberStatus, Snapshot
from cpkit.health.finding import Finding
from cpkit.health.groups import grouped
from cpkit.health.members import leader, membership
from cpkit.ui.marks import MARKS

MIB = 1 << 20


def members_page(snapshot: Snapshot, findings: Sequence[Finding]) -> RenderableType:
    """Who is a member, who votes, who leads, and who is no node of the inventory."""
    table = _table("node", "member", "name", "role", "peer URLs", "client")
    for row in snapshot.etcd.members:
        node = snapshot.member_node(row)
        status = snapshot.etcd.statuses.get(node, MemberStatus(error="no node of the inventory"))
        told = Text("answers" if not status.error else status.error, "" if not status.error else "red")
        table.add_row(
            Text(node or "stranger", "bold" if node else "bold red"),
            row.id,
            row.name or "never started",
            _role(snapshot, row, node),
            " ".join(row.peer_urls),
            told,
        )
    return Group(table, Text(), Text(membership(snapshot).words()), _told(findings))


def status_page(snapshot: Snapshot, findings: Sequence[Finding]) -> RenderableType:
    """What every member says of itself: first of its log, then of its database."""
    log = _table("node", "role", "index", "behind", "term", "keys at one revision", "etcd", "storage")
    data = _table("node", "database", "in use", "of the quota", "alarms")
    statuses = snapshot.etcd.statuses
    top = max((status.index for status in statuses.values()), default=0)
    for name, status in statuses.items():
        if status.error:
            log.add_row(Text(name, "bold"), Text(status.error, "red"))
            continue
        log.add_row(
            Text(name, "bold"),
            "learner" if status.learner else "leader" if leader(snapshot) == name else "follower",
            str(status.index),
            str(max(0, top - status.applied)),
            str(status.terms[-1]) if status.terms else "?",
            f"{status.hash:08x}" if status.hash is not None else "?",
            status.version,
            status.storage_version or "?",
        )
        quota = status.quota or snapshot.plan.quota
        data.add_row(
            Text(name, "bold"),
            f"{status.db_size / MIB:.1f} MiB",
            f"{status.db_in_use / status.db_size:.0%}" if status.db_size else "?",
            f"{status.db_size / quota:.0%} of {quota / MIB:.0f} MiB",
            Text(", ".join(status.alarms) or "none", "bold red" if status.alarms else ""),
        )
    return Group(log, Text(), data, Text(), Text(membership(snapshot).words()), _told(findings))


def members_json(snapshot: Snapshot, findings: Sequence[Finding]) -> dict[str, Any]:
    """The member list, for programs."""
    rows = []
    for row in snapshot.etcd.members:
        node = snapshot.member_node(row)
        answers = not snapshot.etcd.statuses.get(node, MemberStatus(error="stranger")).error
        rows.append(asdict(row) | {"node": node, "role": _role(snapshot, row, node), "answers": answers})
    return _document(snapshot, findings) | {"members": rows}


def status_json(snapshot: Snapshot, findings: Sequence[Finding]) -> dict[str, Any]:
    """Every member's status, for programs."""
    statuses = {name: asdict(status) for name, status in snapshot.etcd.statuses.items()}
    return _document(snapshot, findings) | {"hashed_revision": snapshot.etcd.revision, "statuses": statuses}


def _document(snapshot: Snapshot, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "schema": 1,
        "cluster": snapshot.plan.cluster,
        "leader": leader(snapshot),
        "summary": membership(snapshot).words(),
        "findings": [asdict(finding) for finding in findings if finding.level != "ok"],
    }


def _role(snapshot: Snapshot, row: MemberRow, node: str) -> str:
    if row.learner:
        return "learner"
    return "leader" if leader(snapshot) in {node, row.name} - {""} else "voter"


def _told(findings: Sequence[Finding]) -> RenderableType:
    lines = []
    for group in grouped([finding for finding in findings if finding.level != "ok"]):
        first = group[0]
        mark, style = MARKS[first.level]
        nodes = " ".join(dict.fromkeys(finding.node for finding in group if finding.node))
        lines.append(Text.assemble((f"{mark} ", style), (f"{nodes} " if nodes else "", "bold"), first.text))
        if first.hint:
            lines.append(Text(f"  → {first.hint}", "dim"))
    return Group(*lines)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
