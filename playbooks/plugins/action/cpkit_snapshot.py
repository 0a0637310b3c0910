"""Stream the snapshot of a backup, decrypted on the way, from the store into a root-only directory on every node."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from cpkit.backup import SNAPSHOT, Part, catalogue, open_store
from cpkit.backup.bundle import stream_part
from cpkit.backup.handing import received_key
from cpkit.errors import CpkitError
from cpkit.handing import whole
from cpkit.inventory import Node, load
from cpkit.ssh import connect, fan_out
from cpkit.ssh.pouring import Vessel, pour

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOWEST = 1 << 20  # bytes a second; what comes slower is given up

# What runs on the node, as root: it has the name of the snapshot only when every byte of it is right and on the disk.
RECEIVE = r"""
import hashlib, json, os, sys, tempfile
folder, sha256, size, look = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "look"
path = os.path.join(folder, sha256 + ".db")

def read(stream, target=None):
    body, tail, seen = hashlib.sha256(), b"", 0
    while True:
        data = stream.read(1 << 20)
        if not data:
            whole = body.copy()
            whole.update(tail)
            return seen, whole.hexdigest(), tail == body.digest()
        seen += len(data)
        if target:
            target.write(data)
        if len(data) < 32:
            data, tail = tail + data, b""
        body.update(tail)
        body.update(memoryview(data)[:-32])
        tail = data[-32:]

def right(found):
    return found == (size, sha256, True)

if look:
    there = os.path.exists(path) and not os.path.islink(path)
    print(json.dumps({"there": bool(there and right(read(open(path, "rb"))))}))
    sys.exit(0)
os.umask(0o077)
os.makedirs(folder, mode=0o700, exist_ok=True)
os.chmod(folder, 0o700)
for name in os.listdir(folder):
    if name != sha256 + ".db":
        os.unlink(os.path.join(folder, name))
descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".part-")
try:
    with os.fdopen(descriptor, "wb") as target:
        found = read(sys.stdin.buffer, target)
        target.flush()
        os.fsync(target.fileno())
    if not right(found):
        what = "%d of %d bytes" % (found[0], size) if found[0] != size else "with another SHA-256"
        sys.exit("the snapshot arrived " + what)
    os.rename(temporary, path)
except BaseException:
    if os.path.exists(temporary):
        os.unlink(temporary)
    raise
directory = os.open(folder, os.O_RDONLY)
os.fsync(directory)
print(json.dumps({"there": True}))
"""


class ActionModule(ActionBase):
    """The key comes by an inherited descriptor, and the snapshot touches the operator's disk in no form.

    It goes to all nodes of the play at once, so that it is read and decrypted once; the task must set `run_once`.
    """

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send the snapshot to the nodes that have not got it already."""
        super().run(tmp, task_vars)
        try:
            vessels = self._vessels(task_vars or {})
            if vessels and not self._task.check_mode:
                self._send(vessels)
        except CpkitError as error:
            where = f"{error.node}: " if error.node else ""
            hint = f" {error.hint}" if error.hint else ""
            raise AnsibleActionFail(f"{where}{error.message}.{hint}") from error
        return {"changed": bool(vessels)}

    def _vessels(self, variables: dict[str, Any]) -> list[Vessel]:
        """Where it has to be sent to."""
        cluster = load(variables["inventory_file"])
        nodes = [self._knowing(node) for node in cluster.control_plane if node.name in variables["ansible_play_hosts"]]
        found = fan_out(nodes, self._vessel, deadline=self._patience)
        for answer in found.values():
            if isinstance(answer, CpkitError):
                raise answer
        return [vessel for vessel in found.values() if isinstance(vessel, Vessel)]

    def _knowing(self, node: Node) -> Node:
        password = node.ssh.become_password or getattr(self._play_context, "become_pass", "") or ""
        return replace(node, ssh=replace(node.ssh, become_password=password))

    def _vessel(self, node: Node) -> Vessel | None:
        """What receives it on a node; None where it is already."""
        with connect(node) as connection:
            done = connection.run(self._command("look"), sudo=True, timeout=self._patience)
            if done.rc:
                raise CpkitError(f"the node cannot look for the snapshot: {_last(done.stderr)}")
            if json.loads(done.stdout)["there"]:
                return None
            return connection.vessel(self._command("receive"), timeout=self._patience)

    def _command(self, word: str) -> list[str]:
        wanted = self._task.args
        return ["python3", "-IS", "-c", RECEIVE, wanted["folder"], wanted["sha256"], str(wanted["size"]), word]

    def _send(self, vessels: list[Vessel]) -> None:
        wanted = self._task.args
        part = Part(SNAPSHOT, int(wanted["size"]), wanted["sha256"])
        descriptor = int(wanted.get("snapshot_descriptor", -1))
        if descriptor >= 0:
            _pour(vessels, whole(descriptor), self._patience)
            return
        key = received_key(int(wanted["key_descriptor"]))
        with open_store(wanted["store"]) as store:
            _pour(vessels, stream_part(store, catalogue.find(store, wanted["backup"]), key, part), self._patience)

    @property
    def _patience(self) -> float:
        return 60 + int(self._task.args["size"]) / SLOWEST


def _pour(vessels: list[Vessel], chunks: Iterator[bytes], patience: float) -> None:
    """What failed on one node has not kept the others from receiving all of it."""
    for name, done in pour(vessels, chunks, timeout=patience).items():
        if isinstance(done, CpkitError):
            raise done
        if done.rc:
            raise CpkitError(f"the node did not take the snapshot: {_last(done.stderr)}", node=name)


def _last(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
