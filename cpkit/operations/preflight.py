"""Preflight: look at every machine, judge, and report; nothing is changed."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from difflib import get_close_matches

from cpkit.errors import Exit, UsageError
from cpkit.facts.preflight import collect
from cpkit.health.check import exit_code
from cpkit.health.finding import Finding
from cpkit.health.preflight import CHECKS, judge
from cpkit.inventory import Cluster
from cpkit.ssh import Connect, kept


@dataclass(frozen=True)
class PreflightReport:
    """What preflight found; findings of ignored checks are kept, and count for nothing."""

    cluster: str
    nodes: tuple[str, ...]
    findings: tuple[Finding, ...]
    ignored: frozenset[str] = field(default_factory=frozenset)
    seconds: float = 0.0

    @property
    def counted(self) -> tuple[Finding, ...]:
        """The findings of checks that are not ignored."""
        return tuple(finding for finding in self.findings if finding.check not in self.ignored)

    @property
    def failed(self) -> tuple[Finding, ...]:
        """What must be mended first."""
        return tuple(finding for finding in self.counted if finding.level == "fail")

    @property
    def unknown(self) -> tuple[Finding, ...]:
        """What could not be learnt, and is therefore not well."""
        return tuple(finding for finding in self.counted if finding.level == "unknown")

    @property
    def warned(self) -> tuple[Finding, ...]:
        """What works, and should be looked at."""
        return tuple(finding for finding in self.counted if finding.level == "warn")

    @property
    def exit_code(self) -> Exit:
        """0 when nothing stands in the way, 3 when something failed, 4 when only a node could not be learnt about."""
        return exit_code(self.counted)


def run(
    cluster: Cluster,
    *,
    ignore: frozenset[str] = frozenset(),
    quick: bool = False,
    connect: Connect | None = None,
    progress: Callable[[str], None] | None = None,
) -> PreflightReport:
    """Every check on every node. `quick` leaves out what must be measured: for a cluster that runs already."""
    refuse_unknown(ignore)
    start = time.monotonic()
    with nullcontext(connect) if connect else kept() as way:
        snapshot = collect(cluster, way, quick=quick, progress=progress)
    findings = judge(snapshot)
    names = tuple(node.name for node in cluster.nodes)
    return PreflightReport(cluster.name, names, findings, ignore, time.monotonic() - start)


def refuse_unknown(ignore: frozenset[str]) -> None:
    """Raise UsageError when a name to ignore is not that of a check."""
    for name in sorted(ignore - CHECKS.keys()):
        meant = get_close_matches(name, CHECKS, n=1)
        hint = f"Did you mean {meant[0]}?" if meant else f"The checks are: {', '.join(CHECKS)}."
        raise UsageError(f"there is no check called {name!r}", hint=hint)
