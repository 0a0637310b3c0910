"""How a preflight report looks: what passed in short, then what needs somebody, nearest to the prompt."""

import re
from collections import defaultdict
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cpkit.errors import Exit
from cpkit.health.finding import Finding
from cpkit.health.preflight import CHECKS
from cpkit.operations.preflight import PreflightReport

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "unknown": "bold magenta", "ignored": "dim"}
LOUDNESS = ("ignored", "warn", "unknown", "fail")
RESULTS = {Exit.OK: "ok", Exit.REFUSED: "failed", Exit.UNKNOWN: "unknown"}


def as_json(report: PreflightReport) -> dict[str, Any]:
    """The report for programs."""
    return {
        "cluster": report.cluster,
        "result": RESULTS[report.exit_code],
        "seconds": round(report.seconds, 2),
        "nodes": list(report.nodes),
        "findings": [asdict(finding) | {"ignored": finding.check in report.ignored} for finding in report.findings],
        "not_checked": _not_checked(report),
    }


def render(report: PreflightReport) -> RenderableType:
    """The report for people."""
    title = Text.assemble(
        "Preflight of ", (report.cluster, "bold"), f": {len(report.nodes)} nodes, {report.seconds:.1f} s"
    )
    parts: list[RenderableType] = [title, Text(), *_passed(report)]
    if skipped := _not_checked(report):
        parts.append(Text(f"         not checked: {', '.join(skipped)}", style="dim"))
    troubles = _troubles(report)
    if troubles.row_count:
        parts += [Text(), troubles]
    return Group(*parts, Text(), _summary(report))


def _not_checked(report: PreflightReport) -> list[str]:
    return [name for name in CHECKS if not any(finding.check == name for finding in report.findings)]


def _level(finding: Finding, report: PreflightReport) -> str:
    return "ignored" if finding.level != "ok" and finding.check in report.ignored else finding.level


def _passed(report: PreflightReport) -> list[RenderableType]:
    """One line a check, cut at the terminal's edge: what is well needs no more."""
    wide = max(map(len, CHECKS))
    lines: list[RenderableType] = []
    for name in CHECKS:
        good = [finding for finding in report.findings if finding.check == name and finding.level == "ok"]
        if good:
            detail = _detail(good, len(report.nodes))
            parts = (f"{'ok':>7}", STYLES["ok"]), f"  {name:{wide}}  ", (detail, "dim")
            lines.append(Text.assemble(*parts, no_wrap=True, overflow="ellipsis"))
    return lines


def _detail(good: list[Finding], total: int) -> str:
    """What the nodes have in common, or node by node."""
    by_text: dict[str, list[str]] = defaultdict(list)
    for finding in good:
        by_text[finding.text].append(finding.node)
    if len(by_text) > 1:
        return ", ".join(f"{_count(nodes)} {text}" for text, nodes in by_text.items())
    nodes = [finding.node for finding in good if finding.node]
    if len(nodes) in (0, total):
        return good[0].text
    return f"{_count(nodes)} {good[0].text}"


def _count(nodes: list[str]) -> str:
    return f"{nodes[0]}:" if len(nodes) == 1 else f"{len(nodes)} nodes:"


def _troubles(report: PreflightReport) -> Table:
    """Everything that is not well, the worst last; nodes with the same trouble together."""
    alike: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for finding in report.findings:
        if finding.level != "ok":
            alike[_level(finding, report), finding.check, finding.text, finding.hint].append(finding.node)
    table = Table.grid(padding=(0, 2))
    table.add_column(width=7, justify="right")
    table.add_column(no_wrap=True)
    table.add_column()
    for (level, check, text, hint), nodes in sorted(alike.items(), key=lambda item: LOUDNESS.index(item[0][0])):
        where = ", ".join(node for node in nodes if node)
        told = not where or re.search(rf"\b{re.escape(where)}\b", text)
        what = Text.assemble(("" if told else f"{where}: ", "bold"), text)
        if hint:
            what.append(f"\n{hint}", "dim" if level == "ignored" else "cyan")
        table.add_row(Text(level.upper() if level == "fail" else level, STYLES[level]), check, what)
    return table


def _summary(report: PreflightReport) -> Text:
    counts = (
        (report.failed, "failed", "fail"),
        (report.unknown, "unknown", "unknown"),
        (report.warned, "to look at", "warn"),
    )
    said = [(f"{len(found)} {word}", STYLES[level]) for found, word, level in counts if found]
    if not said:
        return Text("Nothing stands in the way.", style="bold green")
    line = Text(", ").join(Text(*part) for part in said)
    if report.exit_code is Exit.OK:
        return line + Text(". Nothing stands in the way.")
    return line + Text(". Mend these first, or pass --ignore NAME for what you know better.")
