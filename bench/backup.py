"""Backups against `etcdctl snapshot save` on a node, drills and restores; 200,000 values of a kilobyte each.

The two take turns: etcdctl saves a file on the node itself, unsealed, and scp brings it to the machine of the operator;
cpkit seals, verifies and stores there, through SSH, and brings the backup back there. In the end all nodes are restored
from it.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import host
from bench.labs import fresh
from bench.measure import CPKIT, PKI
from bench.model_backup import Backups, Restore, Turn
from bench.process import run
from cpkit.backup.keys import make_identity
from cpkit.facts.member import open_member
from cpkit.inventory import Cluster, Node
from cpkit.journal import read_events
from cpkit.ssh import connect

VALUES, SIZE, TRANSACTION = 200_000, 1024, 100
READY = "Start the API servers"  # a task that is over on a node when its API server is ready
SAVED = "/var/lib/snapshot.db"
SAVE = f"""
rm -f {SAVED} && began=$(date +%s.%N)
/opt/cpkit/etcd/current/etcdctl --endpoints=https://127.0.0.1:2379 --cacert={PKI}/ca.crt \
  --cert={PKI}/healthcheck-client.crt --key={PKI}/healthcheck-client.key snapshot save {SAVED} >&2
ended=$(date +%s.%N); echo $began $ended $(stat -c %s {SAVED}); chmod 644 {SAVED}  # for scp, of another user
"""
Say = Callable[[str], None]


def measure(repeat: int, say: Say) -> Backups:
    """Turns of both sides, and restores of the last backup."""
    with fresh(3) as cluster, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run((*CPKIT, "bootstrap", "-i", cluster.name, "--yes", "--kubeconfig", str(folder / "admin.conf")))
        fill(cluster.control_plane[0])
        say(f"filled, load {host.load():.1f}")
        key = folder / "backup.key"
        recipient = make_identity(key)
        turns = [_turn(cluster, folder, recipient, key, str(number)) for number in range(repeat)]
        for each in turns:
            say(f"backup {each.ratio:.2f} of etcdctl's {each.etcdctl_mb_per_second:.0f} MB/s, {each.peak_mb:.0f} MB")
            say(f"  drill {each.drill_seconds:.1f} s, loads {each.etcdctl_load} {each.cpkit_load} {each.drill_load}")
        restores = [_restore(cluster, folder / str(repeat - 1), key) for _ in range(repeat)]
        for back in restores:
            say(f"restore {back.seconds:.1f} s, API after {back.ready_seconds:.1f} s, load {back.load}: {back.steps}")
    return Backups(datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), turns, restores)


def fill(node: Node) -> None:
    """A database of the size that is measured."""
    with open_member(node, timeout=60) as client:
        put, transaction = client.etcd3.transactions.put, client.etcd3.transaction
        for begin in range(0, VALUES, TRANSACTION):
            names = [f"/bench/{number:08}" for number in range(begin, begin + TRANSACTION)]
            transaction([], [put(name, os.urandom(SIZE // 2).hex()) for name in names], [])


def _turn(cluster: Cluster, folder: Path, recipient: str, key: Path, name: str) -> Turn:
    etcdctl_load = host.load()
    seconds, size = _etcdctl(cluster.control_plane[0])
    fetched = _scp(cluster.control_plane[0], folder)
    store, cpkit_load = str(folder / name), host.load()
    ran = run((*CPKIT, "backup", "etcd", "-i", cluster.name, "--to", store, "-r", recipient, "-o", "json"))
    told = json.loads(ran.stdout)
    verify = (*CPKIT, "backup", "verify", "latest", "--store", store, "--identity", str(key))
    began = time.monotonic()
    proven = run(verify)
    verified, drill_load = time.monotonic() - began, host.load()
    drilled = run((*verify, "--drill", "-o", "json"))
    return Turn(
        size_mb=size / 1e6,
        etcdctl_mb_per_second=size / seconds / 1e6,
        fetched_mb_per_second=size / (seconds + fetched) / 1e6,
        etcdctl_load=etcdctl_load,
        cpkit_mb_per_second=told["bytes_per_second"] / 1e6,
        cpkit_load=cpkit_load,
        command_seconds=ran.seconds,
        peak_mb=ran.peak_mb,
        verify_seconds=verified,
        verify_peak_mb=proven.peak_mb,
        drill_seconds=json.loads(drilled.stdout)[0]["receipt"]["seconds"],
        drill_command_seconds=drilled.seconds,
        drill_peak_mb=drilled.peak_mb,
        drill_load=drill_load,
    )


def _etcdctl(node: Node) -> tuple[float, int]:
    with connect(node) as connection:
        done = connection.run(["sh", "-c", SAVE], sudo=True, timeout=300)
    began, ended, size = done.stdout.split()
    return float(ended) - float(began), int(size)


def _scp(node: Node, folder: Path) -> float:
    """Seconds for what etcdctl saved to arrive here."""
    target = folder / "snapshot.db"
    began = time.monotonic()
    ssh = node.ssh
    known = ("-o", f"UserKnownHostsFile={ssh.known_hosts}", "-o", "StrictHostKeyChecking=yes")
    run(("scp", "-q", "-i", str(ssh.key_file), *known, f"{ssh.user}@{ssh.host}:{SAVED}", str(target)))
    with target.open("rb") as file:
        os.fsync(file.fileno())
    seconds = time.monotonic() - began
    target.unlink()
    with connect(node) as connection:
        connection.run(["rm", SAVED], sudo=True, timeout=60)
    return seconds


def _restore(cluster: Cluster, store: Path, key: Path) -> Restore:
    load = host.load()
    words = ("--from", str(store), "--identity", str(key), "--confirm", cluster.name, "--no-backup", "-o", "json")
    ran = run((*CPKIT, "restore", "etcd", "-i", cluster.name, *words))
    told = json.loads(ran.stdout.splitlines()[-1])  # the lines before it are events
    directory = Path(told["directory"])
    report = json.loads((directory / "report.json").read_text())
    steps = {step["step"]: step["seconds"] for step in report["steps"]}
    journal = list(read_events(directory))
    ready = max(event["at"] for event in journal if event.get("task") == READY) - journal[0]["at"]
    return Restore(ran.seconds, ready, steps, ran.peak_mb, ran.ansible_mb, load)
