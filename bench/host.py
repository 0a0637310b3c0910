"""The machine the numbers belong to."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from cpkit import __version__
from cpkit.versions import version_table


def machine() -> dict[str, str]:
    """What a reader needs to judge the numbers by."""
    info = dict(_pairs(Path("/proc/cpuinfo").read_text()))
    memory = int(dict(_pairs(Path("/proc/meminfo").read_text()))["MemTotal"].split()[0])
    return {
        "CPU": info.get("model name", platform.machine()),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "engine": _first_line("podman", "--version") or _first_line("docker", "--version"),
        "Python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """What was started."""
    table = version_table()
    row = table.minors[table.default]
    return {
        "cpkit": __version__,
        "Kubernetes": str(row.kubernetes),
        "etcd": str(row.etcd),
        "ansible-core": version("ansible-core"),
    }


def load() -> float:
    """How busy the machine is already: runnable processes over the last minute."""
    return os.getloadavg()[0]


def _pairs(text: str) -> list[tuple[str, str]]:
    parted = (line.partition(":") for line in text.splitlines())
    return [(key.strip(), value.strip()) for key, colon, value in parted if colon]


def _first_line(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return ""
