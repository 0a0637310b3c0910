"""Stream the snapshot of a backup, decrypted on the way, from the store into a root-only directory on the node."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from cpkit.backup import SNAPSHOT, Part, catalogue, open_store
from cpkit.backup.bundle import stream_part
from cpkit.backup.handing import received, whole
from cpkit.errors import CpkitError
from cpkit.inventory import Node, load
from cpkit.ssh import Connection, connect

SLOWEST = 1 << 20  # bytes a second; what comes slower is given up

# What runs on the node, as root: it has the name of the snapshot only when every byte of it is right and on the disk.
RECEIVE = r"""
import hashlib, json, os, sys, tempfile
folder, sha256, size, look = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "look"
path = os.path.join(folder, sha256 + ".db")

def read(stream, target=None):
    body, tail, seen = hashlib.sha256(), b"", 0
    while True:
        data = stream.read(1 << 18)
        if not data:
            whole = body.copy()
            whole.update(tail)
            return seen, whole.hexdigest(), tail == body.digest()
        seen += len(data)
        joined = tail + data
        body.update(joined[:-32])
        tail = joined[-32:]
        if target:
            target.write(data)

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
    """The key comes by an inherited descriptor, and the snapshot touches the operator's disk in no form."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send the snapshot unless the node has it already."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            with connect(self._node(variables)) as connection:
                if self._there(connection):
                    return {"changed": False}
                if not self._task.check_mode:
                    self._send(connection)
        except CpkitError as error:
            hint = f" {error.hint}" if error.hint else ""
            raise AnsibleActionFail(f"{error.message}.{hint}") from error
        return {"changed": True}

    def _node(self, variables: dict[str, Any]) -> Node:
        cluster = load(variables["inventory_file"])
        node = next(node for node in cluster.control_plane if node.name == variables["inventory_hostname"])
        password = node.ssh.become_password or getattr(self._play_context, "become_pass", "") or ""
        return replace(node, ssh=replace(node.ssh, become_password=password))

    def _command(self, word: str) -> list[str]:
        wanted = self._task.args
        return ["python3", "-IS", "-c", RECEIVE, wanted["folder"], wanted["sha256"], str(wanted["size"]), word]

    def _there(self, connection: Connection) -> bool:
        done = connection.run(self._command("look"), sudo=True, timeout=self._patience)
        if done.rc:
            raise CpkitError(f"the node cannot look for the snapshot: {_last(done.stderr)}")
        return bool(json.loads(done.stdout)["there"])

    def _send(self, connection: Connection) -> None:
        wanted = self._task.args
        part = Part(SNAPSHOT, int(wanted["size"]), wanted["sha256"])
        descriptor = int(wanted.get("snapshot_descriptor", -1))
        if descriptor >= 0:
            done = connection.feed(self._command("receive"), whole(descriptor), timeout=self._patience)
        else:
            key = received(int(wanted["key_descriptor"]))
            with open_store(wanted["store"]) as store:
                chunks = stream_part(store, catalogue.find(store, wanted["backup"]), key, part)
                done = connection.feed(self._command("receive"), chunks, timeout=self._patience)
        if done.rc:
            raise CpkitError(f"the node did not take the snapshot: {_last(done.stderr)}")

    @property
    def _patience(self) -> float:
        return 60 + int(self._task.args["size"]) / SLOWEST


def _last(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
