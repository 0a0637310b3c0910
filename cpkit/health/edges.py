"""Whether every edge accepts and refuses what it should at a stage of a rotation; pure."""

from collections.abc import Mapping

from cpkit.facts.edges import Edge
from cpkit.health.certs import refused
from cpkit.health.finding import Finding
from cpkit.pki.succession import Stage


def judge_edges(seen: Mapping[str, tuple[Edge, ...] | str], stage: Stage) -> tuple[Finding, ...]:
    """A finding for each edge of each node; what neither said yes nor no is unknown."""
    found = []
    for node, edges in seen.items():
        if isinstance(edges, str):
            found.append(Finding("rotation.edges", node, "unknown", f"not known: {edges}", "Make the node reachable."))
            continue
        found += [_finding(edge, stage) for edge in edges]
    return tuple(found)


def expected(edge: Edge, stage: Stage) -> bool:
    """Whether an edge should say yes: what is served is of one generation, what is accepted may be of both."""
    if edge.shows:
        return (edge.generation == "old") == (stage == "trust")
    return edge.generation == "new" or stage != "distrust"


def _finding(edge: Edge, stage: Stage) -> Finding:
    wanted, probe = expected(edge, stage), edge.probe
    yes, no = _says(edge)
    why = probe.error or f"HTTP {probe.status}"
    what = f"{edge.name}, {edge.generation}"
    if yes == wanted and yes != no:
        return Finding("rotation.edges", edge.node, "ok", f"{what}: {'accepted' if yes else 'refused'}")
    if yes == no:
        return Finding("rotation.edges", edge.node, "unknown", f"{what}: {why}", "Look: cpkit health")
    text = f"{what}: should be {'accepted' if wanted else 'refused'}, and is not ({why})"
    return Finding("rotation.edges", edge.node, "fail", text, "Run the same command again: it goes on there.")


def _says(edge: Edge) -> tuple[bool, bool]:
    """Whether it said yes, and whether it said no."""
    if edge.shows:
        return bool(edge.probe.status), "CERTIFICATE_VERIFY_FAILED" in edge.probe.error
    return edge.probe.ok, refused(edge.probe)
