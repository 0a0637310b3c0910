"""The tables of the status page: what runs where."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from cpkit.facts.snapshot import MemberStatus, NodeFacts, Snapshot
from cpkit.health.balancer import vip_holders
from cpkit.health.certs import days_left
from cpkit.health.controllers import ELECTED, holder, leases
from cpkit.health.finding import Finding
from cpkit.health.members import leader
from cpkit.health.nodes import quantile
from cpkit.ui.marks import about, marked, worst

MIB = 1 << 20
STATES = {"activating": "starting", "deactivating": "stopping", "inactive": "stopped"}  # systemd's words, shorter
WIDE = 110  # columns from which there is room for what is nice to know


@dataclass(frozen=True)
class Page:
    """What is drawn, and into how many columns."""

    snapshot: Snapshot
    findings: Sequence[Finding]
    width: int

    @property
    def wide(self) -> bool:
        """Whether there is room for addresses and member IDs."""
        return self.width >= WIDE


def control_plane(page: Page) -> Table:
    """A row for each control-plane node, a column for each component."""
    table = _table(page, "node", "address*", "etcd", "api server", "manager", "scheduler", "certs", "host")
    snapshot = page.snapshot
    elected = {name: holder(snapshot, lease) for name, lease in leases(snapshot).items()}
    for name, node in snapshot.control_plane.items():
        cells = [
            Text(name, "bold"),
            Text(node.address, "dim"),
            marked(about(page.findings, name, ("etcd.",)), _member(snapshot, name)),
            marked(about(page.findings, name, ("api.",)), _api(node)),
            *(_controller(page, node, component, elected) for component in ELECTED),
            marked(about(page.findings, name, ("certs.",)), _certificates(snapshot, node)),
            _host(page, node),
        ]
        table.add_row(*(cell for index, cell in enumerate(cells) if page.wide or index != 1))
    return table


def balancers(page: Page) -> Table:
    """A row for each load balancer."""
    table = _table(page, "balancer", "address*", "services", "servers up", "endpoint")
    holders = vip_holders(page.snapshot)
    for name, node in page.snapshot.load_balancers.items():
        servers = node.host.servers if node.host else {}
        up = sum(server.status.startswith("UP") for server in servers.values())
        role = f"holds {page.snapshot.plan.endpoint_host}" if name in holders else "stands by"
        cells = [
            Text(name, "bold"),
            Text(node.address, "dim"),
            _host(page, node),
            Text(f"{up} of {len(servers)}" if servers else "?", "" if servers and up == len(servers) else "bold red"),
            Text(role if node.host else "?", "magenta" if not node.host else "bold" if name in holders else "dim"),
        ]
        table.add_row(*(cell for index, cell in enumerate(cells) if page.wide or index != 1))
    return table


def etcd(page: Page) -> Table:
    """A row for each etcd member."""
    table = _table(
        page, "etcd", "member*", "term", "applied", "behind", "database", "in use", "fsync p99", "keys", "version"
    )
    statuses = page.snapshot.etcd.statuses
    top = max((status.index for status in statuses.values()), default=0)
    for name, status in statuses.items():
        host = page.snapshot.nodes[name].host
        p99 = quantile(host.fsync, 0.99) if host else None
        told = not status.error
        cells = [
            Text(name, "bold"),
            Text(status.id or "?", "dim"),
            Text(str(status.terms[-1]) if told and status.terms else "?"),
            Text(str(status.applied) if told else "?"),
            Text(str(max(0, top - status.applied)) if told else "?"),
            Text(f"{status.db_size / MIB:.1f} MiB" if told else "?"),
            Text(f"{status.db_in_use / status.db_size:.0%}" if status.db_size else "?"),
            Text(f"{p99 * 1000:.1f} ms" if p99 is not None else "?"),
            Text(f"{status.hash:08x}" if status.hash is not None else "?"),
            Text(status.version or "?"),
        ]
        table.add_row(*(cell for index, cell in enumerate(cells) if page.wide or index != 1))
    return table


def _table(page: Page, *columns: str) -> Table:
    """A table; the columns that end in a star only where there is room."""
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        if page.wide or not column.endswith("*"):
            table.add_column(column.rstrip("*"), no_wrap=True)
    return table


def _member(snapshot: Snapshot, name: str) -> str:
    host, status = snapshot.nodes[name].host, snapshot.etcd.statuses.get(name, MemberStatus(error="not asked"))
    unit = host.units.get("etcd") if host else None
    if unit and not unit.running:
        return STATES.get(unit.state, unit.state)
    if status.error:
        return "silent"
    if status.learner:
        return "learner"
    if not status.leader:
        return "no leader"
    return "leader" if leader(snapshot) == name else "follower"


def _api(node: NodeFacts) -> str:
    ready = node.host.probes.get("readyz") if node.host else None
    if ready and ready.ok:
        return f"ready {ready.seconds * 1000:.0f} ms"
    return "not ready" if node.host else "silent"


def _controller(page: Page, node: NodeFacts, name: str, elected: dict[str, str]) -> Text:
    # Both controllers share a check, so a finding counts for the one that its text names.
    findings = about(page.findings, node.name, ("controllers.",))
    mine = [finding for finding in findings if name in finding.text or finding.level == "unknown"]
    unit = node.host.units.get(name) if node.host else None
    if unit is None:
        return marked(mine, "silent")
    if not unit.running:
        return marked(mine, STATES.get(unit.state, unit.state))
    return marked(mine, "leads" if elected.get(name) == node.name else "standby")


def _certificates(snapshot: Snapshot, node: NodeFacts) -> str:
    left = min((days_left(each, snapshot.taken) for each in node.certificates if not each.error), default=None)
    return f"{left:.0f} days" if left is not None else "none" if node.host else "silent"


def _host(page: Page, node: NodeFacts) -> Text:
    findings = about(page.findings, node.name, ("node.",))
    level = worst(findings)
    if node.host is None:
        return marked(findings, "silent")
    if level != "ok":
        return marked(findings, next(each.check for each in findings if each.level == level).removeprefix("node."))
    return marked(findings, f"{node.host.disk.free / node.host.disk.size:.0%} free" if node.host.disk else "up")
