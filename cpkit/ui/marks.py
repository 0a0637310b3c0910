"""How a level looks: a symbol as well as a colour, for neither a log nor every eye has both."""

from collections.abc import Iterable, Sequence

from rich.text import Text

from cpkit.health.finding import Finding, Level
from cpkit.health.groups import URGENCY

MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("●", "green"),
    "warn": ("▲", "yellow"),
    "fail": ("✗", "bold red"),
    "unknown": ("?", "magenta"),
}


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
