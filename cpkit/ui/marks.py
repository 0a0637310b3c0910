"""How a level looks: a symbol as well as a colour, for neither a log nor every eye has both."""

from collections.abc import Iterable, Sequence

from rich.text import Text

from cpkit.health.finding import Finding, Level

MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("●", "green"),
    "warn": ("▲", "yellow"),
    "fail": ("✗", "bold red"),
    "unknown": ("?", "magenta"),
}
URGENCY: tuple[Level, ...] = ("fail", "unknown", "warn", "ok")


def worst(findings: Iterable[Finding]) -> Level:
    """The level of the whole: a failure beats an unknown, which beats a warning; nothing known is unknown."""
    levels = {finding.level for finding in findings}
    return next((level for level in URGENCY if level in levels), "unknown")


def about(findings: Iterable[Finding], node: str, checks: tuple[str, ...]) -> list[Finding]:
    """The findings on a node by the checks that begin so."""
    return [finding for finding in findings if finding.node == node and finding.check.startswith(checks)]


def marked(findings: Sequence[Finding], text: str) -> Text:
    """A cell: the mark of the worst finding behind it, and a word."""
    level = worst(findings)
    mark, style = MARKS[level]
    return Text.assemble((mark, style), " ", (text, "" if level == "ok" else style))


def grouped(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings by urgency; what many checks say of one node, or one check of many nodes, is said once."""
    by_node: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        by_node.setdefault((finding.level, finding.node, finding.text, finding.hint), []).append(finding)
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for group in by_node.values():
        checks = tuple(finding.check for finding in group)
        groups.setdefault((group[0].level, checks, group[0].text, group[0].hint), []).extend(group)
    return sorted(groups.values(), key=lambda group: URGENCY.index(group[0].level))
