"""Reads what a restore stands on, on the node it runs on, and prints it as one JSON document.

It is sent on stdin to `sudo python3 - ARGUMENT`, so it uses the standard library of Python 3.9 alone. It changes
nothing, and of keys it prints no more than digests.
"""
# ruff: noqa: PTH110, PTH112, PTH116, PTH118, PTH120, PTH123

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from typing import Any

MARKER = "/var/lib/cpkit/restore.json"
SNAPSHOTS = "/var/lib/cpkit"
CLUSTER = "/etc/cpkit/cluster.json"


def digest(path: str) -> str:
    """A file's SHA-256; empty when there is no such file."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return ""


def document(path: str) -> dict[str, Any] | None:
    """A JSON file; None when there is none."""
    try:
        with open(path) as file:
            found = json.load(file)
    except FileNotFoundError:
        return None
    return found if isinstance(found, dict) else {}


def disk(path: str) -> dict[str, Any]:
    """Room on the file system that holds a path, or will."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    stat = os.statvfs(path)
    return {"device": os.stat(path).st_dev, "free": stat.f_bavail * stat.f_frsize}


def size(path: str) -> int:
    """Bytes of all files below a directory."""
    found = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                found += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue  # a log that etcd has just dropped
    return found


def etcdutl() -> str:
    """The version of the selected etcdutl; empty when there is none."""
    program = "/opt/cpkit/etcd/current/etcdutl"
    if not os.path.exists(program):
        return ""
    told = subprocess.run([program, "version"], capture_output=True, timeout=10, check=False).stdout.decode()
    found = re.search(r"(\d+\.\d+\.\d+)", told)
    return found.group(1) if found else ""


def kubernetes() -> str:
    """The selected version of the API server; empty when there is none."""
    found = re.search(r"/v?(\d+\.\d+\.\d+)/?$", os.path.realpath("/opt/cpkit/kube-apiserver/current"))
    return found.group(1) if found else ""


def main() -> None:
    """Print what is known."""
    asked = json.loads(sys.argv[1])
    data_dir = os.path.realpath(asked["data_dir"])
    mount = os.path.ismount(data_dir)
    found = {
        "marker": document(MARKER),
        "cluster": (document(CLUSTER) or {}).get("name", ""),
        "digests": {path: digest(path) for path in asked["paths"]},
        "member": os.path.isdir(data_dir + "/member"),
        "data_size": size(data_dir + "/member"),
        "data_disk": disk(data_dir if mount else os.path.dirname(data_dir)),
        "snapshot_disk": disk(SNAPSHOTS),
        "etcdutl": etcdutl(),
        "kubernetes": kubernetes(),
    }
    print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
