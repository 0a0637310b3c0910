"""The units of the node's role, and the versions and flags that they run with."""
# Importing pathlib would add a tenth to the run.
# ruff: noqa: PTH110, PTH115, PTH207

from __future__ import annotations

import glob
import os
import re

from cpkit.facts.agent.files import digest, read, text_of
from cpkit.facts.agent.machine import output
from cpkit.facts.agent.probes import CONTROLLERS

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from typing import Any

OPT = "/opt/cpkit"
UNITS = {
    "control_plane": ["etcd", "kube-apiserver", *CONTROLLERS],
    "load_balancer": ["haproxy", "keepalived"],
}
OWN_FLAGS = {"advertise-address", "bind-address"}  # these may differ between nodes
MANAGER = "/etc/systemd/system/kube-controller-manager.service"
SIGNING_KEY = re.compile(r"[\s\0]--cluster-signing-key-file=(\S+)")
NO_SIGNER = re.compile(r"[\s\0]--controllers=\S*-(?:csrsigning|certificatesigningrequest-signing-controller)\b")
EMULATED = re.compile(r"[\s\0]--emulated-version=(?:kube=)?(\d+\.\d+)")


def services(role: str) -> dict[str, Any]:
    """Units, versions, and kube-apiserver's flags."""
    found = units(role)
    pid = found.get("kube-apiserver", {}).get("pid", 0)
    return {
        "units": found,
        "components": {name: component(name, unit["pid"]) for name, unit in found.items()} if "etcd" in found else {},
        "flags": flags(read(f"/proc/{pid}/cmdline")) if pid else {},
        "missing_key": missing_key(text_of(MANAGER)),
    }


def units(role: str) -> dict[str, dict[str, Any]]:
    """The units that belong to the role, as systemd sees them."""
    fields = "Id,LoadState,ActiveState,SubState,NRestarts,MainPID,ExecMainStartTimestampMonotonic"
    found = {}
    for block in output("systemctl", "show", "-p", fields, *UNITS[role]).strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines())
        found[unit["Id"].replace(".service", "")] = {
            "state": unit["ActiveState"],
            "sub": unit["SubState"],
            "loaded": unit["LoadState"],
            "restarts": int(unit.get("NRestarts") or 0),
            "pid": int(unit.get("MainPID") or 0),
            "started": int(unit.get("ExecMainStartTimestampMonotonic") or 0) / 1e6,
        }
    return found


def component(name: str, pid: int) -> dict[str, Any]:
    """The version that runs, the one that the next start would run, and those that lie there."""
    try:
        running = os.readlink(f"/proc/{pid}/exe") if pid else ""
    except OSError:
        running = ""
    return {
        "running": version_in(running),
        "selected": version_in(os.path.realpath(f"{OPT}/{name}/current")),
        "emulates": emulated(f"/proc/{pid}/cmdline") if pid else "",
        "would_emulate": emulated(f"/etc/systemd/system/{name}.service"),
        "before": version_in(os.path.realpath(f"{OPT}/{name}/before")),
        "installed": sorted(filter(None, (version_in(path) for path in glob.glob(f"{OPT}/{name}/*/{name}")))),
    }


def version_in(path: str) -> str:
    """The version that is a part of a binary's path."""
    found = re.search(r"/v?(\d+\.\d+\.\d+)(?:/|$)", path)
    return found.group(1) if found else ""


def emulated(path: str) -> str:
    """The minor that the flags in a unit or a command line name for --emulated-version; empty for the program's own."""
    found = EMULATED.search(text_of(path))
    return found.group(1) if found else ""


def missing_key(unit: str) -> str:
    """The key that kube-controller-manager is to sign with, if it is not there; empty if it is not to sign at all."""
    key = SIGNING_KEY.search(unit)
    return key.group(1) if key and not NO_SIGNER.search(unit) and not os.path.exists(key.group(1)) else ""


def flags(command_line: bytes) -> dict[str, str]:
    """Digests of a process's flags; the order of a list does not matter, nor do flags that are a node's own."""
    found = {}
    for argument in command_line.decode("utf-8", "replace").split("\0")[1:]:
        name, _, value = argument.lstrip("-").partition("=")
        if name and name not in OWN_FLAGS:
            found[name] = digest(",".join(sorted(value.split(","))).encode())[:16]
    return found
