"""What a restore stands on: keys, versions, disks, and how far an earlier restore has come on each node."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cpkit.errors import CpkitError
from cpkit.inventory import Cluster, Node
from cpkit.ssh import connect, fan_out

READ = 30.0  # seconds for one node; it adds up the files of a large database
DONE, ABORTING = "done", "aborting"
# As in playbooks/plugins/module_utils/cpkit_restore.py.
STAGES = ("begun", "prepared", "held", "quiet", "stopped", "switched", "committed", "started", "serving", DONE)


@dataclass(frozen=True)
class Marker:
    """How far a restore has come on a node."""

    restore: str = ""
    backup: str = ""
    stage: str = ""
    aside: str = ""  # where the old data is

    @property
    def under_way(self) -> bool:
        """Whether it was begun and is not over."""
        return self.stage != DONE

    def reached(self, stage: str) -> bool:
        """Whether it has come so far, or further."""
        return self.stage in STAGES and STAGES.index(self.stage) >= STAGES.index(stage)


@dataclass(frozen=True)
class Room:
    """A file system, by its device, and its free bytes."""

    device: int
    free: int


@dataclass(frozen=True)
class Ground:
    """One control-plane node; `error` says why it could not be asked."""

    error: str = ""
    hint: str = ""
    marker: Marker | None = None
    cluster: str = ""  # the cluster it belongs to by its own account
    digests: Mapping[str, str] = field(default_factory=dict)  # path -> SHA-256, empty for a file that is not there
    member: bool = False  # whether etcd has data here
    data_size: int = 0
    data_disk: Room = Room(0, 0)
    snapshot_disk: Room = Room(0, 0)
    etcdutl: str = ""
    kubernetes: str = ""


def survey(cluster: Cluster, paths: tuple[str, ...]) -> dict[str, Ground]:
    """Every control-plane node's ground, with the digests of these files; a node that is silent says why."""
    agent = Path(__file__).with_name("ground_agent.py").read_bytes()
    argument = json.dumps({"data_dir": cluster.spec.etcd_data_dir, "paths": paths})

    def work(node: Node) -> Ground:
        with connect(node) as connection:
            done = connection.run(["python3", "-IS", "-", argument], stdin=agent, sudo=True, timeout=READ)
        if done.rc:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise CpkitError(f"it cannot be looked into: {lines[-1] if lines else 'it said nothing'}")
        try:
            return _adapter().validate_json(done.stdout)
        except ValidationError as error:
            raise CpkitError(f"its answer cannot be read: {error.errors()[0]['msg']}") from error

    found = fan_out(cluster.control_plane, work, deadline=READ + 5)
    return {
        name: each if isinstance(each, Ground) else Ground(error=each.message, hint=each.hint)
        for name, each in found.items()
    }


@cache
def _adapter() -> TypeAdapter[Ground]:
    return TypeAdapter(Ground)
