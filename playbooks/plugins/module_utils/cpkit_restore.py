"""A restore on one node: how far it has come, and that it goes on alone.

The invariant: no member starts on new data while another could start on old. From `held` on, a drop-in forbids every
service to start, across reboots too, and it is taken away only after every node has `switched`. Going back is the same
the other way round: from `aborting` on no node goes forward, and none may abort once any node is `committed`.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from ansible.module_utils.cpkit_disk import sync_directory

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator

# In the order a restore passes through them. `aborting` leads back to before.
STAGES = ("begun", "prepared", "held", "quiet", "stopped", "switched", "committed", "started", "serving", "done")
ABORTING = "aborting"
BACK = (ABORTING, "reverted", "resumed", "aborted")


class Trouble(Exception):
    """What keeps a node from going on; the text is for people."""


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until what a run that was cut off has still under way on this node is over."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Marker:
    """The file that says how far a restore has come on this node; every change is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.values: dict[str, object] = json.loads(path.read_text())
        except FileNotFoundError:
            self.values = {}
        except ValueError as error:
            raise Trouble(f"{path} cannot be read: {error}. It says how far a restore has come; look at it.") from error

    @property
    def stage(self) -> str:
        """How far it has come, empty when none is under way."""
        return str(self.values.get("stage", ""))

    def reached(self, stage: str) -> bool:
        """Whether the restore has come so far, or further."""
        return self.stage in STAGES and STAGES.index(self.stage) >= STAGES.index(stage)

    def write(self, **values: object) -> None:
        """Keep these values as well."""
        self.values |= values
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=".restore.")
        with os.fdopen(descriptor, "w") as stream:
            json.dump(self.values, stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).rename(self.path)
        sync_directory(self.path.parent)
