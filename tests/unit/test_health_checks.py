"""Each check, by spoiling one fact of a healthy cluster and reading what is said of it."""

from typing import Any

import pytest

from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, judge
from cpkit.health.nodes import quantile
from tests.unit.cases import cases
from tests.unit.health_snapshots import Raw, Spoil, captured, certificate, host, spoiled

DAY = 86400


def status(node: str, **changes: Any) -> Spoil:
    return lambda raw: raw["etcd"]["statuses"][node].update(changes)


def row(index: int, **changes: Any) -> Spoil:
    return lambda raw: raw["etcd"]["members"][index].update(changes)


def cert(node: str, name: str, **changes: Any) -> Spoil:
    return lambda raw: certificate(raw, node, name).update(changes)


def ends_in(days: float) -> Spoil:
    return lambda raw: certificate(raw, "cp2", "etcd/peer.crt").update(not_after=raw["taken"] + days * DAY)


def fact(node: str, name: str, **changes: Any) -> Spoil:
    return lambda raw: host(raw, node)[name].update(changes)


def lease(**changes: Any) -> Spoil:
    def spoil(raw: Raw) -> None:
        for node in ("cp1", "cp2", "cp3"):
            host(raw, node)["leases"]["kube-scheduler"].update(changes)

    return spoil


def unit(node: str, name: str, **changes: Any) -> Spoil:
    return lambda raw: host(raw, node)["units"][name].update(changes)


def stranger(raw: Raw) -> None:
    raw["etcd"]["members"].append({"id": "ff", "name": "old", "peer_urls": ["https://10.9.9.9:2380"]})


def no_vip(raw: Raw) -> None:
    for node in ("lb1", "lb2"):
        host(raw, node)["addresses"] = []


def drop(node: str, name: str) -> Spoil:
    def spoil(raw: Raw) -> None:
        certificates = raw["nodes"][node]["certificates"]
        certificates.remove(certificate(raw, node, name))

    return spoil


def flapping(raw: Raw) -> None:
    seen = host(raw, "cp1")
    seen["units"]["etcd"].update(restarts=4, started=seen["uptime"] - 5)


def behind(raw: Raw) -> None:
    statuses = raw["etcd"]["statuses"]
    statuses["cp2"].update(applied=statuses["cp1"]["index"] - 500)


PKI = "/etc/kubernetes/pki"
CASES: list[tuple[str, str, str, str, Spoil]] = [
    ("etcd.members", "warn", "cp2", "no vote yet", status("cp2", learner=True)),
    ("etcd.members", "fail", "cp1", "never started", row(0, name="")),
    ("etcd.members", "fail", "", "not in the inventory", stranger),
    ("etcd.members", "fail", "cp1", "not a member", lambda raw: raw["etcd"]["members"].pop(0)),
    ("etcd.members", "fail", "cp3", "no leader", status("cp3", leader="")),
    ("etcd.members", "fail", "cp3", "read through the leader", status("cp3", linearizable="no answer")),
    ("etcd.members", "fail", "cp3", "does not answer", status("cp3", error="no answer")),
    ("etcd.leader", "fail", "cp1", "names nobody", status("cp1", leader="")),
    ("etcd.leader", "fail", "cp1", "names ff", status("cp1", leader="ff")),
    ("etcd.term", "warn", "", "election", status("cp2", terms=[2, 3])),
    ("etcd.lag", "warn", "cp2", "behind", behind),
    ("etcd.lag", "fail", "cp2", "behind", status("cp2", applied=1)),
    ("etcd.alarms", "fail", "cp1", "NOSPACE", status("cp1", alarms=["NOSPACE"])),
    ("etcd.size", "warn", "cp1", "85% of the quota", status("cp1", db_in_use=85, quota=100)),
    ("etcd.size", "fail", "cp1", "96% of the quota", status("cp1", db_in_use=96, quota=100)),
    ("etcd.fragmentation", "warn", "cp1", "10% of", status("cp1", db_size=200 << 20, db_in_use=20 << 20)),
    ("etcd.hash", "fail", "cp2", "differ", status("cp2", hash=1)),
    ("etcd.hash", "unknown", "cp2", "could not be hashed", status("cp2", hash=None)),
    ("etcd.hash", "unknown", "", "compaction", status("cp2", compacted=99999)),
    ("etcd.version", "warn", "cp2", "runs etcd 3.5.9", status("cp2", version="3.5.9")),
    (
        "api.ready",
        "fail",
        "cp1",
        "poststarthook/x",
        fact("cp1", "probes", readyz={"status": 500, "failed": ["poststarthook/x"]}),
    ),
    ("api.ready", "fail", "cp1", "HTTP 401", fact("cp1", "probes", readyz={"status": 401})),
    ("api.endpoint", "fail", "", "refused", lambda raw: raw.update(endpoint={"error": "refused"})),
    ("api.endpoint", "unknown", "", "no node told", lambda raw: raw.update(endpoint=None)),
    (
        "api.version",
        "warn",
        "cp1",
        "kube-scheduler 1.35.4",
        fact("cp1", "components", **{"kube-scheduler": {"running": "1.35.4"}}),
    ),
    (
        "api.version",
        "warn",
        "cp1",
        "another version",
        fact("cp1", "components", **{"kube-apiserver": {"running": "1.36.3", "selected": "1.37.2"}}),
    ),
    ("api.flags", "warn", "cp3", "profiling", fact("cp3", "flags", profiling="0")),
    ("api.trust", "warn", "cp3", "ca.crt", fact("cp3", "files", **{f"{PKI}/ca.crt": "0"})),
    (
        "api.encryption",
        "fail",
        "cp3",
        "encryption.yaml",
        fact("cp3", "files", **{"/etc/kubernetes/encryption.yaml": "0"}),
    ),
    ("api.tokens", "fail", "cp3", "sa.pub", fact("cp3", "files", **{f"{PKI}/sa.pub": "0"})),
    ("controllers.signer", "warn", "cp1", "ca.key", lambda raw: host(raw, "cp1").update(missing_key=f"{PKI}/ca.key")),
    ("controllers.lease", "fail", "", "renewed it 16 s ago", lease(age=16.0)),
    ("controllers.lease", "fail", "", "nobody", lease(holder="")),
    ("controllers.healthy", "fail", "cp1", "HTTP 500", fact("cp1", "probes", **{"kube-scheduler": {"status": 500}})),
    (
        "lb.backends",
        "fail",
        "cp2",
        "DOWN (L4CON) on lb1",
        fact("lb1", "servers", cp2={"status": "DOWN", "check": "L4CON"}),
    ),
    ("lb.backends", "warn", "cp2", "DRAIN on lb1", fact("lb1", "servers", cp2={"status": "DRAIN"})),
    ("lb.backends", "fail", "cp2", "lb1 does not know it", lambda raw: host(raw, "lb1")["servers"].pop("cp2")),
    ("lb.trust", "warn", "lb2", "another CA", fact("lb2", "files", **{"/etc/haproxy/kubernetes-ca.crt": "0"})),
    ("lb.vip", "fail", "", "nobody holds", no_vip),
    ("certs.present", "fail", "cp1", "scheduler.crt missing", drop("cp1", "/scheduler.crt")),
    ("certs.present", "fail", "cp1", "cannot be read", cert("cp1", "/scheduler.crt", error="no PEM")),
    ("certs.expiry", "warn", "cp2", "ends in 29 days", ends_in(29)),
    ("certs.expiry", "fail", "cp2", "ends in 6 days", ends_in(6)),
    ("certs.valid", "fail", "cp2", "ended 3 days ago", ends_in(-3)),
    ("certs.valid", "fail", "cp2", "begins only", cert("cp2", "etcd/peer.crt", not_before=4e9)),
    (
        "certs.chain",
        "fail",
        "cp2",
        "by etcd/ca.crt, not by ca.crt",
        cert("cp2", "/apiserver.crt", signed_by=f"{PKI}/etcd/ca.crt"),
    ),
    ("certs.chain", "fail", "cp2", "a CA that is not on this node", cert("cp2", "/apiserver.crt", signed_by="")),
    (
        "certs.rotation",
        "warn",
        "",
        "being replaced: etcd's CA",
        lambda raw: host(raw, "cp2").update(rotation={"new": {"etcd": "f0"}}),
    ),
    ("certs.keys", "fail", "cp2", "does not belong", cert("cp2", "/apiserver.crt", key="mismatch")),
    ("certs.keys", "fail", "cp2", "is missing", cert("cp2", "/apiserver.crt", key="absent")),
    ("certs.names", "fail", "cp2", "127.0.0.1", cert("cp2", "/apiserver.crt", sans=["kubernetes"])),
    (
        "certs.served",
        "fail",
        "cp2",
        "is not what kube-apiserver serves",
        cert("cp2", "/apiserver.crt", fingerprint="0"),
    ),
    ("node.units", "fail", "cp1", "etcd is failed", unit("cp1", "etcd", state="failed")),
    ("node.units", "fail", "lb1", "keepalived is not installed", unit("lb1", "keepalived", loaded="not-found")),
    (
        "node.units",
        "fail",
        "cp1",
        "kube-apiserver is activating",
        unit("cp1", "kube-apiserver", state="activating", sub="start"),
    ),
    ("node.units", "warn", "cp1", "restarted 4 times", flapping),
    ("node.disk", "warn", "cp1", "(15%)", fact("cp1", "disk", size=100, free=15)),
    ("node.disk", "fail", "cp1", "(1%)", fact("cp1", "disk", inodes_free=0.01)),
    ("node.clock", "warn", "cp1", "ahead of", lambda raw: raw["nodes"]["cp1"]["clock"].update(offset=2.0, error=0.1)),
    ("node.clock", "fail", "cp1", "behind", lambda raw: raw["nodes"]["cp1"]["clock"].update(offset=-60.0, error=0.1)),
    (
        "node.fsync",
        "fail",
        "cp1",
        "p99",
        lambda raw: host(raw, "cp1").update(fsync={"1.0": 0, "8.0": 100, "+Inf": 100}),
    ),
    ("node.peers", "fail", "cp2", "cp1 cannot reach", fact("cp1", "peers", **{"cp2:2380": "timed out"})),
]


def said(snapshot: Snapshot, check: str) -> list[Finding]:
    return [finding for finding in judge(snapshot, [check]) if finding.level != "ok"]


@cases(("check", "level", "node", "words", "spoil"), CASES)
def test_a_spoiled_fact_is_found(check: str, level: str, node: str, words: str, spoil: Spoil) -> None:
    before = said(captured("healthy"), check)
    found = [each for each in said(spoiled(spoil), check) if each not in before]
    assert [each for each in found if each.level == level and each.node == node and words in each.text]
    assert all(each.hint for each in found)


FACTS: list[tuple[str, str, object, str]] = [
    ("cp1", "units", {}, "node.units"),
    ("cp1", "components", {}, "api.version"),
    ("cp1", "flags", {}, "api.flags"),
    ("cp1", "files", {}, "api.trust"),
    ("cp1", "files", {}, "api.encryption"),
    ("cp1", "probes", {}, "api.ready"),
    ("cp1", "probes", {}, "api.live"),
    ("cp1", "probes", {}, "controllers.healthy"),
    ("cp1", "disk", None, "node.disk"),
    ("cp1", "fsync", {}, "node.fsync"),
    ("lb1", "servers", {}, "lb.backends"),
    ("lb1", "files", {}, "lb.trust"),
]


@cases(("node", "name", "empty", "check"), FACTS)
def test_a_missing_fact_is_never_healthy(node: str, name: str, empty: object, check: str) -> None:
    snapshot = spoiled(lambda raw: host(raw, node).update({name: empty}))
    assert [each.node for each in judge(snapshot, [check]) if each.blocks].count(node) >= 1


def test_certificates_nobody_could_read_are_not_healthy() -> None:
    snapshot = spoiled(lambda raw: raw["nodes"]["cp1"].update(certificates=[]))
    assert [each.node for each in judge(snapshot, ["certs.present"]) if each.blocks] == ["cp1"]


def test_leases_nobody_told_are_unknown() -> None:
    def forget(raw: Raw) -> None:
        for node in ("cp1", "cp2", "cp3"):
            host(raw, node)["leases"] = {}

    assert {each.level for each in judge(spoiled(forget), ["controllers.lease"])} == {"unknown"}


def test_a_clock_no_surer_than_its_error_is_not_blamed() -> None:
    snapshot = spoiled(lambda raw: raw["nodes"]["cp1"]["clock"].update(offset=2.0, error=2.0))
    assert said(snapshot, "node.clock") == []


def test_quantiles_are_spread_evenly_within_a_bucket() -> None:
    assert quantile({"0.001": 0, "0.002": 100, "+Inf": 100}, 0.5) == pytest.approx(0.0015)
    assert quantile({"0.001": 50, "+Inf": 100}, 0.99) == pytest.approx(0.001)
    assert quantile({"0.001": 0, "+Inf": 0}, 0.99) is None
    assert quantile({}, 0.99) is None
