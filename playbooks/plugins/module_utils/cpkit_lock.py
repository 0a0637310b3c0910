"""The cluster's lock as a node holds it: a file that names its owner."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

LOCK = Path("/run/cpkit/lock.json")
RESTORE = Path("/var/lib/cpkit/restore.json")


def take(lock: Path, owner: str) -> str:
    """Take the lock; returns the words to refuse with when another owner holds it."""
    lock.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    for _ in range(2):
        try:
            descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            try:
                holder = json.loads(lock.read_text())
            except FileNotFoundError:
                continue  # released between the two looks
            except ValueError:
                holder = {}
            if holder.get("owner") == owner:
                return ""
            since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(holder.get("since", 0)))
            return f"the cluster is locked by {holder.get('owner', 'somebody unknown')} since {since}"
        with os.fdopen(descriptor, "w") as stream:
            json.dump({"owner": owner, "since": int(time.time())}, stream)
        return ""
    return "the lock is being taken by somebody else"


def restoring(restore: Path) -> str:
    """The words to refuse with while a restore is under way; empty when none is."""
    try:
        held = json.loads(restore.read_text())
    except FileNotFoundError:
        return ""
    except ValueError:
        held = {}
    if held.get("stage") == "done":
        return ""
    return (
        f"a restore of {held.get('backup', 'a backup')} is under way on this node. "
        "Finish it with the same command, or go back: cpkit restore etcd --abort"
    )


def release(lock: Path, owner: str) -> None:
    """Give the lock back if this owner holds it."""
    try:
        if json.loads(lock.read_text()).get("owner") == owner:
            lock.unlink()
    except (FileNotFoundError, ValueError):
        pass
