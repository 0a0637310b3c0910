"""Read, on the node, what preflight judges; print one JSON document and change nothing.

Runs as `python3 - ARGUMENT` with root's rights, on whatever Python the node has: standard library of 3.9 only,
and syntax that 3.6 still compiles, so that an old Python can say how old it is.
"""

import base64
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OLDEST_PYTHON = (3, 9)
if __name__ == "__main__" and sys.version_info < OLDEST_PYTHON:
    json.dump({"python": sys.version_info[:2]}, sys.stdout)
    sys.exit()

Facts = dict[str, Any]
UNITS = (
    *("etcd", "kube-apiserver", "kubelet", "haproxy", "keepalived"),
    *("k3s", "k3s-agent", "rke2-server", "rke2-agent", "k0scontroller", "k0sworker", "snap.microk8s.daemon-kubelite"),
)
TOOLS = ("systemctl", "ip", "haproxy", "keepalived")
LISTENING = "0A"


def text(path: str) -> str:
    """The file's text; empty when it cannot be read."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def output(*argv: str) -> str:
    """What a command printed; empty when it is missing, fails or hangs."""
    try:
        done = subprocess.run(argv, check=False, capture_output=True, timeout=3)
        return done.stdout.decode(errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return ""


def assignments(lines: str) -> dict[str, str]:
    """KEY=VALUE lines as a dict, quotes taken off."""
    pairs = (line.split("=", 1) for line in lines.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def memory() -> int:
    """Bytes of memory this machine, or the container it is, may use."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = text(path).strip()
        if limit.isdigit():
            total = min(total, int(limit))
    return total


def systemd() -> int:
    """The version of a running systemd; 0 when another init runs the machine."""
    if not Path("/run/systemd/system").is_dir():
        return 0
    found = re.search(r"systemd (\d+)", output("systemctl", "--version"))
    return int(found.group(1)) if found else 0


def interfaces() -> list[Facts]:
    """Every interface with its hardware address and its addresses in prefix notation."""
    try:
        links = json.loads(output("ip", "-j", "address") or "[]")
    except ValueError:
        links = []
    return [
        {
            "name": link.get("ifname", ""),
            "mac": link.get("address", ""),
            "addresses": [f"{a['local']}/{a['prefixlen']}" for a in link.get("addr_info", []) if "local" in a],
        }
        for link in links
    ]


def disk(path: Path) -> Facts:
    """The room on the disk that carries, or will carry, a directory."""
    while not path.is_dir():
        path = path.parent
    found = os.statvfs(path)
    return {
        "path": str(path),
        "free": found.f_bavail * found.f_frsize,
        # Some file systems (btrfs) count no inodes at all.
        "inodes": found.f_favail if found.f_files else -1,
        "read_only": bool(found.f_flag & os.ST_RDONLY),
    }


def socket_address(packed: str) -> str:
    """The kernel's hexadecimal IP address in its usual form."""
    words = [bytes.fromhex(packed[i : i + 8])[::-1] for i in range(0, len(packed), 8)]
    raw = b"".join(words) if sys.byteorder == "little" else bytes.fromhex(packed)
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def listening(ports: set[int]) -> Iterator[tuple[str, str, int]]:
    """Sockets listening on one of the ports: inode, address and port."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in text(table).splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].split(":")
            if fields[3] == LISTENING and int(port, 16) in ports:
                yield fields[9], socket_address(address), int(port, 16)


def owners(inodes: list[str]) -> dict[str, int]:
    """The process that holds each socket."""
    found: dict[str, int] = {}
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for link in Path("/proc").glob("[0-9]*/fd/*") if wanted else ():
        with contextlib.suppress(OSError):  # the process or its descriptor may be gone
            inode = wanted.get(str(link.readlink()))
            if inode:
                found[inode] = int(link.parts[2])
    return found


def process(pid: int) -> Facts:
    """Name, executable and systemd unit of a process."""
    try:
        executable = str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        executable = ""
    unit = re.search(r"/([^/\n]+\.service)", text(f"/proc/{pid}/cgroup"))
    command = text(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    return {
        "pid": pid,
        "process": text(f"/proc/{pid}/comm").strip(),
        "executable": executable,
        "unit": unit.group(1) if unit else "",
        "command": command[:120],
    }


def listeners(ports: list[int]) -> list[Facts]:
    """Who listens on the ports."""
    sockets = list(listening(set(ports)))
    pids = owners([inode for inode, _, _ in sockets])
    return [dict({"address": address, "port": port}, **process(pids.get(inode, 0))) for inode, address, port in sockets]


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


def package(name: str) -> str:
    """Whether a package is installed, can be installed, or is unknown here."""
    if shutil.which(name):
        return "installed"
    if not shutil.which("apt-cache"):
        return "unknown"
    found = re.search(r"Candidate: (\S+)", output("apt-cache", "policy", name))
    return "available" if found and found.group(1) != "(none)" else "missing"


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


def resolved(host: str) -> list[str]:
    """The addresses the node finds for a host; a name server that hangs counts as none."""
    found: list[str] = []

    def ask() -> None:
        with contextlib.suppress(OSError):
            found.extend(sorted({str(info[4][0]) for info in socket.getaddrinfo(host, None)}))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(3)
    return list(found)


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


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.environ["LC_ALL"] = "C"
    json.dump(facts(json.loads(sys.argv[1])), sys.stdout)
