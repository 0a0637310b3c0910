"""What an earlier cluster left, or somebody else's: units, directories, a CA, a marker, configuration."""

import base64
import hashlib
import json
import re
from pathlib import Path

from cpkit.facts.preflight_agent.machine import Facts, assignments, output, text

UNITS = (
    *("etcd", "kube-apiserver", "kubelet", "haproxy", "keepalived"),
    *("k3s", "k3s-agent", "rke2-server", "rke2-agent", "k0scontroller", "k0sworker", "snap.microk8s.daemon-kubelite"),
)


def units() -> list[Facts]:
    """State of the units that would get in the way; those systemd does not know are left out."""
    names = [name + ".service" for name in UNITS]
    shown = output("systemctl", "show", "-p", "Id,LoadState,ActiveState,UnitFileState,FragmentPath", *names)
    found = [assignments(block) for block in shown.split("\n\n")]
    return [
        {
            "name": unit["Id"],
            "active": unit.get("ActiveState") in ("active", "activating", "reloading"),
            "enabled": unit.get("UnitFileState") == "enabled",
            "path": unit.get("FragmentPath", ""),
        }
        for unit in found
        if unit.get("LoadState") == "loaded"
    ]


def entries(path: str) -> list[str]:
    """The names in a directory, without the lost+found of a disk of its own."""
    try:
        return sorted(entry.name for entry in Path(path).iterdir() if entry.name != "lost+found")
    except OSError:
        return []


def authority() -> str:
    """SHA-256 of the cluster's CA certificate; empty when there is none."""
    pem = re.search(r"-----BEGIN CERTIFICATE-----(.+?)-----END", text("/etc/kubernetes/pki/ca.crt"), re.DOTALL)
    try:
        return hashlib.sha256(base64.b64decode(pem.group(1))).hexdigest() if pem else ""
    except ValueError:
        return "unreadable"


def marker() -> Facts:
    """The cluster this node says it belongs to, and as which node."""
    written = text("/etc/cpkit/cluster.json")
    try:
        found = json.loads(written or "{}")
        return {key: str(found.get(key, "")) for key in ("name", "node", "id")}
    except (ValueError, AttributeError):
        return {"name": "(unreadable)", "node": "", "id": ""}


def balancing() -> Facts:
    """What haproxy and keepalived are configured for, and whether by cpkit."""
    proxy, failover = text("/etc/haproxy/haproxy.cfg"), text("/etc/keepalived/keepalived.conf")
    return {
        "managed": "cpkit" in proxy,
        "in_use": bool(re.search(r"^(frontend|listen)\s", proxy, re.MULTILINE) or failover.strip()),
    }
