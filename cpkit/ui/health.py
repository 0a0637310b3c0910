"""The status page: a verdict, what runs where, and what to do about what does not."""

from collections.abc import Sequence
from datetime import datetime

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cpkit.facts.snapshot import Snapshot
from cpkit.health.finding import Finding
from cpkit.health.gate import summary
from cpkit.health.groups import URGENCY, grouped
from cpkit.ui.health_tables import Page, balancers, control_plane, etcd
from cpkit.ui.marks import MARKS, worst

INDENT = 2  # columns beside the page


def page(snapshot: Snapshot, findings: Sequence[Finding], *, width: int, everything: bool = False) -> RenderableType:
    """The whole page for a terminal of `width` columns; `everything` lists what is well, too."""
    drawn = Page(snapshot, findings, width - INDENT)
    tables = [control_plane(drawn), *([balancers(drawn)] if snapshot.load_balancers else []), etcd(drawn)]
    spaced = [Padding(table, (1, 0, 0, 0)) for table in tables]
    return Padding(Group(_headline(drawn), *spaced, Text(), findings_table(findings, everything=everything)), (0, 1))


def _headline(drawn: Page) -> Panel:
    snapshot, plan, probe = drawn.snapshot, drawn.snapshot.plan, drawn.snapshot.endpoint
    level = worst(drawn.findings)
    word = {"ok": "HEALTHY", "warn": "HEALTHY", "fail": "NOT HEALTHY", "unknown": "UNKNOWN"}[level]
    mark, style = MARKS["ok" if level == "warn" else level]
    text = Text.assemble((f"{mark} {word}", f"bold {style}"), "  ", summary(snapshot))
    answer = "was not asked" if probe is None else f"answers in {probe.seconds * 1000:.0f} ms"
    if probe and not probe.ok:
        answer = f"does not answer: {probe.error or f'HTTP {probe.status}'}"
    well = probe is not None and probe.ok
    text.append(f"\nhttps://{plan.endpoint_host}:{plan.endpoint_port} {answer}", "dim" if well else "bold red")
    at = datetime.fromtimestamp(snapshot.taken).astimezone().strftime("%H:%M:%S")
    return Panel(
        text,
        title=f"[bold]{plan.cluster}[/]  Kubernetes {plan.kubernetes}  etcd {plan.etcd}",
        title_align="left",
        subtitle=f"{at}, read in {snapshot.seconds:.1f} s",
        subtitle_align="right",
        border_style=style,
        box=box.ROUNDED,
    )


def findings_table(findings: Sequence[Finding], *, everything: bool) -> RenderableType:
    """Findings by urgency with their advice, and their number; those that are well only on demand."""
    shown = [finding for finding in findings if everything or finding.level != "ok"]
    words = {"ok": "fine", "warn": "to look at", "fail": "failed", "unknown": "unknown"}
    counts = ((level, sum(finding.level == level for finding in findings)) for level in URGENCY)
    parts = (part for level, count in counts if count for part in ((f"{count} {words[level]}", MARKS[level][1]), "  "))
    total = Text.assemble(*parts, (f"of {len(findings)} findings", "dim"))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in range(3):
        table.add_column(no_wrap=True, max_width=(1, 14, 20)[column])
    table.add_column(overflow="fold")
    groups = grouped(shown)
    followers = [*groups[1:], *([[]] if groups else [])]
    for group, following in zip(groups, followers, strict=True):
        first = group[0]
        mark, style = MARKS[first.level]
        text = Text(first.text)
        # The same advice for several findings is given once, under the last.
        if first.hint and not (following and following[0].hint == first.hint):
            text.append(f"\n→ {first.hint}", "dim")
        nodes = list(dict.fromkeys(finding.node or "cluster" for finding in group))
        checks = list(dict.fromkeys(finding.check for finding in group))
        what = checks[0] if len(checks) == 1 else f"{checks[0].split('.')[0]}.* {len(checks)} checks"
        if len({check.split(".")[0] for check in checks}) > 1:
            what = f"{len(checks)} checks"
        where = " ".join(nodes) if len(nodes) <= 3 else f"{len(nodes)} nodes"
        table.add_row(Text(mark, style), Text(where, "bold"), Text(what, "dim"), text)
    return Group(table, Text(), total) if shown else total
