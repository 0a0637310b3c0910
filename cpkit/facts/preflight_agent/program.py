"""Read, on the node, what preflight judges; print one JSON document and change nothing.

Runs with the modules beside it as `python3 - ARGUMENT` with root's rights, on whatever Python the node has: standard
library of 3.9 only. An older one is told apart before any of them is compiled.
"""

import json
import os
import platform
import shutil
import socket
import sys
from pathlib import Path

from cpkit.facts.preflight_agent.leftovers import authority, balancing, entries, marker, units
from cpkit.facts.preflight_agent.listeners import listeners
from cpkit.facts.preflight_agent.machine import (
    Facts,
    assignments,
    disk,
    interfaces,
    memory,
    package,
    resolved,
    systemd,
    text,
)

TOOLS = ("systemctl", "ip", "haproxy", "keepalived")


def main() -> None:
    """Print what is known."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.environ["LC_ALL"] = "C"
    json.dump(facts(json.loads(sys.argv[1])), sys.stdout)


def facts(wanted: Facts) -> Facts:
    """All facts of this node, as one JSON-able dict."""
    balancer = wanted["role"] == "load_balancer"
    data_dir = wanted["etcd_data_dir"]
    release = text("/etc/os-release") or text("/usr/lib/os-release")
    paths = {"packages": "/usr"} if balancer else {"etcd": data_dir, "binaries": "/opt", "state": "/var/lib"}
    return {
        "python": list(sys.version_info[:2]),
        "machine": platform.machine(),
        "hostname": socket.gethostname(),
        "machine_id": text("/etc/machine-id").strip(),
        "os": assignments(release),
        "systemd": systemd(),
        "memory": memory(),
        "cpus": len(os.sched_getaffinity(0)),
        "interfaces": interfaces(),
        "disks": {name: disk(Path(path)) for name, path in paths.items()},
        "listeners": listeners(wanted["ports"]),
        "tools": [name for name in TOOLS if shutil.which(name)],
        "packages": {name: package(name) for name in (("haproxy", "keepalived") if balancer else ())},
        "etcd_data": entries(data_dir),
        "etcd_data_mounted": os.path.ismount(data_dir),
        "kubernetes": entries("/etc/kubernetes"),
        "manifests": entries("/etc/kubernetes/manifests"),
        "authority": authority(),
        "marker": marker(),
        "units": units(),
        "balancing": balancing(),
        "resolved": resolved(wanted["endpoint"]),
    }
