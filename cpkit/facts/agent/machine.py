"""The machine itself: its commands, its disks, its addresses."""
# Importing pathlib would add a tenth to the run.
# ruff: noqa: PTH207

from __future__ import annotations

import glob
import json
import os
import subprocess

from cpkit.facts.agent.asking import PATIENCE

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from typing import Any


def output(*argv: str) -> str:
    """What a command printed."""
    return subprocess.run(argv, check=True, capture_output=True, timeout=PATIENCE).stdout.decode()


def disk(path: str) -> dict[str, Any]:
    """Room on the file system that holds a directory."""
    stat = os.statvfs(path)
    inodes = stat.f_favail / stat.f_files if stat.f_files else 1.0
    return {
        "path": path,
        "size": stat.f_blocks * stat.f_frsize,
        "free": stat.f_bavail * stat.f_frsize,
        "inodes_free": inodes,
    }


def etcd_data(path: str) -> bool:
    """Whether etcd has a log here, and so is a member that may only go on with it; its own criterion."""
    return bool(glob.glob(path + "/member/wal/*.wal"))


def addresses() -> list[str]:
    """Every address the node carries."""
    return [info["local"] for link in json.loads(output("ip", "-j", "addr")) for info in link.get("addr_info", [])]
