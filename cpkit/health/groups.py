"""Findings in the order and the groups in which people are told of them."""

from collections.abc import Sequence

from cpkit.health.finding import Finding, Level

URGENCY: tuple[Level, ...] = ("fail", "unknown", "warn", "ok")


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
