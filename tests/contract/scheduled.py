"""The program of scheduled backups, laid down as on nodes and run by the system's own Python, for tests."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cpkit.backup import shipping
from cpkit.backup.node.settings import Settings
from tests.contract.etcd_members import EtcdMember
from tests.e2e.running import await_that

Running = subprocess.Popen[str]
DAILY, EVERY_SECOND = "*-*-* 00:00:00 UTC", "*-*-* *:*:* UTC"
ADDRESSES, ENDPOINT = {"cp1": "10.9.0.1", "cp2": "10.9.0.2", "cp3": "10.9.0.3"}, "10.9.0.9:6443"
FILES = {"pki/ca.crt": "a certificate\n", "pki/ca.key": "a key\n"}

SLOW_AGE = """#!/bin/sh
touch {folder}/begun
while [ ! -e {folder}/go ]; do sleep 0.05; done
exec /usr/bin/env -i PATH={path} age "$@"
"""


def python() -> str:
    """A Python that has the standard library alone."""
    return str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")


@dataclass(frozen=True)
class Node:
    """A node on loopback: its own files, its own state, and the member it asks."""

    root: Path
    settings: Settings

    @property
    def folder(self) -> Path:
        return self.root / self.settings.node

    @property
    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((Path(self.settings.state) / "status.json").read_text())
        return told

    @property
    def metrics(self) -> str:
        return (Path(self.settings.metrics) / "cpkit_backup.prom").read_text()

    def having(self, **changes: Any) -> "Node":
        """It, with other settings."""
        node = Node(self.root, replace(self.settings, **changes))
        node.settle()
        return node

    def settle(self) -> None:
        (self.folder / "backup.json").write_text(json.dumps(asdict(self.settings)))

    def start(self, *words: str, path: Path | None = None) -> Running:
        """Run the program as its unit does; programs in `path` take the place of the system's."""
        argv = [python(), "-ISB", str(self.root / "program"), str(self.folder / "backup.json"), *words]
        env = {"PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"], "HOME": str(self.folder)}
        return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str) -> tuple[int, str]:
        """Run it to its end: the code, and everything it said."""
        process = self.start(*words)
        out, err = process.communicate(timeout=90)
        return process.returncode, out + err


def nodes(root: Path, members: list[EtcdMember], store: str, recipient: str) -> list[Node]:
    """A node for each member, all of one schedule."""
    for path, text in shipping.program().items():
        place = root / "program" / Path(path).relative_to(shipping.PROGRAM)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return [_node(root, member, members, store, recipient) for member in members]


def _node(root: Path, member: EtcdMember, members: list[EtcdMember], store: str, recipient: str) -> Node:
    folder = root / member.name
    folder.mkdir()
    cert, key = member.authority.leaf("healthcheck")
    for name, data in (("ca.crt", member.authority.ca()), ("client.crt", cert), ("client.key", key)):
        (folder / name).write_bytes(data)
    for part, text in FILES.items():
        (folder / part.replace("/", "-")).write_text(text)
    (folder / "inventory.json").write_text(json.dumps({"inventory/hosts.yml": "all:\n"}))
    node = Node(
        root,
        Settings(
            cluster="prod",
            node=member.name,
            calendar=DAILY,
            store=store,
            recipients=(recipient,),
            keep={},
            nodes=ADDRESSES,
            endpoint=ENDPOINT,
            members={each.name: f"127.0.0.1:{each.port}" for each in members},
            files={str(folder / part.replace("/", "-")): part for part in FILES},
            components={},
            versions={"kubernetes": "1.36.3", "etcd": "3.6.16"},
            inventory=str(folder / "inventory.json"),
            authority=str(folder / "ca.crt"),
            certificate=str(folder / "client.crt"),
            key=str(folder / "client.key"),
            state=str(folder / "state"),
            metrics=str(folder / "metrics"),
            lease=3,
        ),
    )
    node.settle()
    return node


@contextmanager
def held_back(node: Node, folder: Path) -> Iterator[tuple[Running, Path]]:
    """A node that holds the lock and does not come to an end before a file `go` is in the folder."""
    folder.mkdir()
    program = folder / "age"
    program.write_text(SLOW_AGE.format(folder=folder, path="/usr/local/bin:/usr/bin:/bin"))
    program.chmod(0o755)
    process = node.start(path=folder)
    try:
        await_that((folder / "begun").exists, 30)
        yield process, folder / "go"
    finally:
        (folder / "go").touch()
        process.kill()
        process.communicate()
