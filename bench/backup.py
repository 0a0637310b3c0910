"""`python -m bench.backup`: backups against `etcdctl snapshot save` on a node, in the same run.

A fresh lab gets a database of 200,000 values of a kilobyte. Then the two take turns: etcdctl saves a file on the node
itself, unsealed; cpkit seals, verifies and stores on the operator's machine, through SSH, and brings it back there.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench import host
from bench.labs import fresh
from bench.measure import CPKIT, PKI
from bench.process import run
from cpkit.backup.keys import make_identity
from cpkit.facts.member import open_member
from cpkit.inventory import Cluster, Node
from cpkit.ssh import connect

VALUES, SIZE, TRANSACTION = 200_000, 1024, 100
SAVE = f"""
cd /var/tmp && rm -f snapshot.db && began=$(date +%s.%N)
/opt/cpkit/etcd/current/etcdctl --endpoints=https://127.0.0.1:2379 --cacert={PKI}/ca.crt \
  --cert={PKI}/healthcheck-client.crt --key={PKI}/healthcheck-client.key snapshot save snapshot.db >&2
ended=$(date +%s.%N); echo $began $ended $(stat -c %s snapshot.db); rm -f snapshot.db
"""


def main() -> None:
    """Measure, and print medians as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.backup", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="turns of each (default: 5)")
    repeat = parser.parse_args().repeat
    with fresh(3) as cluster, tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "admin.conf"
        run((*CPKIT, "bootstrap", "-i", cluster.name, "--yes", "--kubeconfig", str(kubeconfig)))
        _fill(cluster.control_plane[0])
        key = Path(folder) / "backup.key"
        recipient = make_identity(key)
        turns = [_turn(cluster, Path(folder), recipient, key, str(number)) for number in range(repeat)]
    body = {"machine": host.machine(), "load": host.load(), "turns": turns}
    body["median"] = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    print(json.dumps(body, indent=1))


def _fill(node: Node) -> None:
    with open_member(node, timeout=60) as client:
        put, transaction = client.etcd3.transactions.put, client.etcd3.transaction
        for begin in range(0, VALUES, TRANSACTION):
            names = [f"/bench/{number:08}" for number in range(begin, begin + TRANSACTION)]
            transaction([], [put(name, os.urandom(SIZE // 2).hex()) for name in names], [])


def _turn(cluster: Cluster, folder: Path, recipient: str, key: Path, name: str) -> dict[str, float]:
    seconds, size = _etcdctl(cluster.control_plane[0])
    store = str(folder / name)
    ran = run((*CPKIT, "backup", "etcd", "-i", cluster.name, "--to", store, "-r", recipient, "-o", "json"))
    told = json.loads(ran.stdout)
    began = time.monotonic()
    proven = run((*CPKIT, "backup", "verify", "latest", "--store", store, "--identity", str(key)))
    verified = time.monotonic() - began
    drilled = run(
        (*CPKIT, "backup", "verify", "latest", "--store", store, "--identity", str(key), "--drill", "-o", "json")
    )
    turn = {
        "size_mb": size / 1e6,
        "etcdctl_mb_per_second": size / seconds / 1e6,
        "cpkit_mb_per_second": told["bytes_per_second"] / 1e6,
        "ratio": told["bytes_per_second"] / (size / seconds),
        "whole_command_seconds": ran.seconds,
        "peak_mb": ran.peak_mb,
        "verify_seconds": verified,
        "verify_peak_mb": proven.peak_mb,
        "drill_seconds": json.loads(drilled.stdout)[0]["receipt"]["seconds"],
        "drill_command_seconds": drilled.seconds,
        "drill_peak_mb": drilled.peak_mb,
    }
    print({each: round(value, 2) for each, value in turn.items()}, file=sys.stderr, flush=True)
    return turn


def _etcdctl(node: Node) -> tuple[float, int]:
    with connect(node) as connection:
        done = connection.run(["sh", "-c", SAVE], sudo=True, timeout=300)
    began, ended, size = done.stdout.split()
    return float(ended) - float(began), int(size)


if __name__ == "__main__":
    main()
