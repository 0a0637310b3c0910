"""The machine itself: its files and commands, its memory, its disks, its addresses, and what it finds elsewhere."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

Facts = dict[str, Any]


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


def package(name: str) -> str:
    """Whether a package is installed, can be installed, or is unknown here."""
    if shutil.which(name):
        return "installed"
    if not shutil.which("apt-cache"):
        return "unknown"
    found = re.search(r"Candidate: (\S+)", output("apt-cache", "policy", name))
    return "available" if found and found.group(1) != "(none)" else "missing"


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
