"""Credentials for programs: JSON, and Prometheus' text format. Names here are a promise and do not change."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from cpkit.facts.snapshot import Snapshot
from cpkit.health.check import exit_code
from cpkit.health.credentials import Credential, credentials
from cpkit.health.finding import Finding
from cpkit.ui.health_text import LEVELS, VERDICTS, Sample, exposition

SCHEMA = 1
HELP = {
    "cpkit_certificate_not_after_seconds": "When the certificate ends.",
    "cpkit_certificate_level": "How well a certificate or key is: 0 ok, 1 warn, 2 fail, 3 unknown.",
    "cpkit_certificate_served": "1 if what is served is what is on disk.",
    "cpkit_certificate_accepted": "1 if the server that a client certificate is for accepts it.",
}


def as_json(snapshot: Snapshot, findings: Sequence[Finding]) -> str:
    """Every credential, and what is to be said about them."""
    document = {
        "schema": SCHEMA,
        "cluster": snapshot.plan.cluster,
        "verdict": VERDICTS[exit_code(findings)],
        "taken": datetime.fromtimestamp(snapshot.taken, UTC).isoformat(timespec="seconds"),
        "credentials": [asdict(each) | {"level": each.level} for each in credentials(snapshot)],
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(document, indent=2)


def as_prometheus(snapshot: Snapshot, findings: Sequence[Finding]) -> str:  # noqa: ARG001 - one shape for every form
    """Metrics for a node exporter's text directory; what is unknown is absent, not zero."""
    samples = (sample for each in credentials(snapshot) for sample in _samples(each))
    return exposition(snapshot.plan.cluster, samples, HELP)


def _samples(each: Credential) -> Iterator[Sample]:
    label = {"node": each.node, "name": each.name}
    if each.days_left is not None:
        labels = {**label, "path": each.path, "serial": each.serial}
        yield "cpkit_certificate_not_after_seconds", labels, each.not_after
    yield "cpkit_certificate_level", {**label, "fingerprint": each.fingerprint[:16]}, LEVELS[each.level]
    for name, use in (("served", each.served), ("accepted", each.accepted)):
        if use in {"yes", "no"}:
            yield f"cpkit_certificate_{name}", label, use == "yes"
