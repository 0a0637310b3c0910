"""What the servers of the node say of themselves."""
# Python 3.9 knows no Z in dates.
# ruff: noqa: FURB162

from __future__ import annotations

import json
import re
import time

from cpkit.facts.agent.asking import believing, get, probe, trusting
from cpkit.facts.agent.files import PKI

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from typing import Any

CONTROLLERS = {"kube-controller-manager": 10257, "kube-scheduler": 10259}
FSYNC = re.compile(r'^etcd_disk_wal_fsync_duration_seconds_bucket\{le="([^"]+)"\} (\S+)', re.MULTILINE)


def health_path(path: str) -> dict[str, Any]:
    """The API server's word on itself."""
    return probe(6443, f"/{path}?verbose", lambda: trusting(PKI + "/ca.crt"))


def controller(name: str) -> dict[str, Any]:
    """A controller's own health, whatever certificate it shows: that is judged apart."""
    return probe(CONTROLLERS[name], "/healthz", believing)


def lease(name: str) -> dict[str, Any]:
    """Who holds an election, as this node's API server tells it."""
    from datetime import datetime

    context = trusting(PKI + "/ca.crt", PKI + "/apiserver-kubelet-client")
    status, body, _ = get(6443, f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}", context)
    if status != 200:
        raise ValueError(f"HTTP {status}")
    spec = json.loads(body)["spec"]
    renewed = datetime.fromisoformat(spec["renewTime"].replace("Z", "+00:00")).timestamp()
    return {
        "holder": spec.get("holderIdentity") or "",
        "age": time.time() - renewed,
        "duration": spec["leaseDurationSeconds"],
        "transitions": spec.get("leaseTransitions", 0),
    }


def fsync() -> dict[str, float]:
    """Etcd's own histogram of how long its log took to reach the disk."""
    return {bound: float(count) for bound, count in FSYNC.findall(get(2381, "/metrics")[1])}


def servers() -> dict[str, dict[str, str]]:
    """The API servers as HAProxy sees them."""
    import csv

    rows = csv.DictReader(get(8404, "/stats;csv")[1].lstrip("# ").splitlines())
    return {
        row["svname"]: {"status": row["status"], "check": (row.get("check_status") or "").lstrip("* ")}
        for row in rows
        if row["pxname"] == "kube-apiserver" and row["svname"] not in ("FRONTEND", "BACKEND")
    }
