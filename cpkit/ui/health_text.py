"""Health for programs: JSON, and Prometheus' text format. Names here are a promise and do not change."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from cpkit.backup.node.record import HELP as BACKUP_HELP
from cpkit.backup.node.record import samples
from cpkit.facts.snapshot import Snapshot
from cpkit.health.balancer import vip_holders
from cpkit.health.check import exit_code
from cpkit.health.controllers import holder, leases
from cpkit.health.finding import Finding
from cpkit.health.gate import stoppable, summary
from cpkit.health.members import leader, membership
from cpkit.health.nodes import quantile
from cpkit.renewing.record import HELP as RENEWAL_HELP
from cpkit.renewing.record import samples as renewal_samples

SCHEMA = 1
VERDICTS = {0: "healthy", 3: "not healthy", 4: "unknown"}
LEVELS = {"ok": 0, "warn": 1, "fail": 2, "unknown": 3}
Sample = tuple[str, dict[str, str], float]
HELP = {
    "cpkit_healthy": "1 if healthy, 0 if not or unknown.",
    "cpkit_check_level": "Worst finding of a check on a node: 0 ok, 1 warn, 2 fail, 3 unknown.",
    "cpkit_snapshot_timestamp_seconds": "When the snapshot was taken.",
    "cpkit_snapshot_duration_seconds": "How long reading it took.",
    "cpkit_etcd_voters": "Voting members.",
    "cpkit_etcd_voters_healthy": "Voting members that serve.",
    "cpkit_etcd_fault_tolerance": "How many more voters may fail without losing quorum.",
    "cpkit_etcd_has_quorum": "1 if enough voters are known to be healthy.",
    "cpkit_etcd_leader": "1 for the node that leads.",
    "cpkit_etcd_term": "Raft term the member is in.",
    "cpkit_etcd_applied_index": "Last raft entry the member applied.",
    "cpkit_etcd_db_size_bytes": "Size of the member's database file.",
    "cpkit_etcd_db_in_use_bytes": "Bytes of it in use.",
    "cpkit_etcd_db_quota_bytes": "Size at which etcd stops taking writes.",
    "cpkit_etcd_fsync_p99_seconds": "99th percentile of log writes since etcd started.",
    "cpkit_api_ready": "1 if the API server is ready.",
    "cpkit_api_ready_seconds": "How long /readyz took.",
    "cpkit_endpoint_ready": "1 if the API is ready through its endpoint.",
    "cpkit_endpoint_seconds": "How long /readyz took through the endpoint.",
    "cpkit_lease_age_seconds": "Time since the holder renewed its lease.",
    "cpkit_vip_held": "1 if the balancer holds the endpoint's address.",
    "cpkit_balancer_server_up": "1 if the balancer sees the API server up.",
    "cpkit_certificate_not_after_seconds": "When the certificate ends.",
    "cpkit_clock_offset_seconds": "How far the node's clock is ahead of this machine's.",
    "cpkit_disk_free_ratio": "Free part of the file system under etcd's data directory.",
    "cpkit_stream_revision": "Up to which revision of etcd the store's newest stream reaches.",
    "cpkit_stream_last_seen_timestamp_seconds": "As of when nothing was missing in it.",
    "cpkit_stream_lag_seconds": "How long that was ago.",
    "cpkit_stream_ended": "1 if it was ended on purpose.",
    **BACKUP_HELP,
    **RENEWAL_HELP,
}


def as_json(snapshot: Snapshot, findings: Sequence[Finding]) -> str:
    """The verdict, every finding and the snapshot it was judged by."""
    members = membership(snapshot)
    document = {
        "schema": SCHEMA,
        "cluster": snapshot.plan.cluster,
        "verdict": VERDICTS[exit_code(findings)],
        "taken": datetime.fromtimestamp(snapshot.taken, UTC).isoformat(timespec="seconds"),
        "seconds": round(snapshot.seconds, 3),
        "etcd": {
            "summary": summary(snapshot),
            "quorum": members.has_quorum,
            "fault_tolerance": members.fault_tolerance,
            "leader": members.leader,
            "may_stop": list(stoppable(snapshot)),
        },
        "findings": [asdict(finding) for finding in findings],
        "snapshot": asdict(snapshot),
    }
    return json.dumps(document, indent=2)


def as_prometheus(snapshot: Snapshot, findings: Sequence[Finding]) -> str:
    """Metrics for a node exporter's text directory; what is unknown is absent, not zero."""
    parts = (_nodes, _etcd, _lb, _backups, _stream, _renewals)
    samples = (*_cluster(snapshot, findings), *(sample for part in parts for sample in part(snapshot)))
    return exposition(snapshot.plan.cluster, samples, HELP)


def exposition(cluster: str, samples: Iterable[Sample], texts: Mapping[str, str]) -> str:
    """Samples of one cluster in Prometheus' text format, each metric with its line of help."""
    found: dict[str, list[str]] = {}
    for name, labels, value in samples:
        inside = ",".join(f'{key}="{_escape(text)}"' for key, text in {"cluster": cluster, **labels}.items())
        found.setdefault(name, []).append(f"{name}{{{inside}}} {value:.17g}")
    lines = []
    for name, rows in found.items():
        lines += [f"# HELP {name} {texts[name]}", f"# TYPE {name} gauge", *rows]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _cluster(snapshot: Snapshot, findings: Sequence[Finding]) -> Iterator[Sample]:
    members = membership(snapshot)
    yield "cpkit_healthy", {}, exit_code(findings) == 0
    yield "cpkit_snapshot_timestamp_seconds", {}, snapshot.taken
    yield "cpkit_snapshot_duration_seconds", {}, snapshot.seconds
    yield "cpkit_etcd_voters", {}, len(members.voters)
    yield "cpkit_etcd_voters_healthy", {}, len(members.healthy)
    yield "cpkit_etcd_fault_tolerance", {}, members.fault_tolerance
    yield "cpkit_etcd_has_quorum", {}, members.has_quorum
    worst: dict[tuple[str, str], int] = {}
    for finding in findings:
        key = finding.check, finding.node
        worst[key] = max(worst.get(key, 0), LEVELS[finding.level])
    for (check, node), level in worst.items():
        yield "cpkit_check_level", {"check": check, "node": node}, level
    if snapshot.endpoint:
        yield "cpkit_endpoint_ready", {}, snapshot.endpoint.ok
        yield "cpkit_endpoint_seconds", {}, snapshot.endpoint.seconds
    for name, lease in leases(snapshot).items():
        yield "cpkit_lease_age_seconds", {"lease": name, "node": holder(snapshot, lease)}, lease.age


def _nodes(snapshot: Snapshot) -> Iterator[Sample]:
    for name, node in snapshot.nodes.items():
        label = {"node": name}
        if node.clock:
            yield "cpkit_clock_offset_seconds", label, node.clock.offset
        if node.host and node.host.disk:
            yield "cpkit_disk_free_ratio", label, node.host.disk.free / node.host.disk.size
        ready = node.host.probes.get("readyz") if node.host else None
        if ready:
            yield "cpkit_api_ready", label, ready.ok
            yield "cpkit_api_ready_seconds", label, ready.seconds
        for certificate in node.certificates:
            if not certificate.error:
                labels = {**label, "path": certificate.path, "serial": certificate.serial}
                yield "cpkit_certificate_not_after_seconds", labels, certificate.not_after


def _etcd(snapshot: Snapshot) -> Iterator[Sample]:
    for name, status in snapshot.etcd.statuses.items():
        host, label = snapshot.nodes[name].host, {"node": name}
        p99 = quantile(host.fsync, 0.99) if host else None
        if p99 is not None:
            yield "cpkit_etcd_fsync_p99_seconds", label, p99
        if status.error:
            continue
        yield "cpkit_etcd_leader", label, name == leader(snapshot)
        yield "cpkit_etcd_term", label, status.terms[-1]
        yield "cpkit_etcd_applied_index", label, status.applied
        yield "cpkit_etcd_db_size_bytes", label, status.db_size
        yield "cpkit_etcd_db_in_use_bytes", label, status.db_in_use
        yield "cpkit_etcd_db_quota_bytes", label, status.quota or snapshot.plan.quota


def _lb(snapshot: Snapshot) -> Iterator[Sample]:
    for name, node in snapshot.load_balancers.items():
        if not node.host:
            continue
        yield "cpkit_vip_held", {"node": name}, name in vip_holders(snapshot)
        for server, seen in node.host.servers.items():
            yield "cpkit_balancer_server_up", {"node": name, "server": server}, seen.status.startswith("UP")


def _stream(snapshot: Snapshot) -> Iterator[Sample]:
    seen = snapshot.stream
    if seen is None or seen.error:
        return
    label = {"backup": seen.backup, "owner": seen.owner}
    yield "cpkit_stream_revision", label, seen.revision
    yield "cpkit_stream_last_seen_timestamp_seconds", label, seen.until
    yield "cpkit_stream_lag_seconds", label, max(0.0, snapshot.taken - seen.until)
    yield "cpkit_stream_ended", label, seen.ended


def _backups(snapshot: Snapshot) -> Iterator[Sample]:
    """As the nodes' own text files tell it."""
    for name, node in snapshot.control_plane.items():
        if node.host and node.host.backup:
            known = node.host.backup
            record = known.record
            last = (record.at, record.seconds, record.size, record.revision) if record else None
            for metric, labels, value in samples(known.next, known.outcome, known.verified, last):
                yield metric, {"node": name, **labels}, value


def _renewals(snapshot: Snapshot) -> Iterator[Sample]:
    """As the nodes' own text files tell it."""
    for name, node in snapshot.control_plane.items():
        if node.host and (known := node.host.renewal):
            told = renewal_samples(known.at, known.outcome, known.ends, len(known.renewed), known.renewed_at)
            for metric, labels, value in told:
                yield metric, {"node": name, **labels}, value
