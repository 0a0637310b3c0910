"""One round: the floor on fresh machines, and cpkit on equally fresh ones."""

import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ruamel.yaml import YAML

from bench import floor
from bench.labs import fresh
from bench.model import Bootstrap, Floor, Round, Start
from bench.process import run
from bench.ready import Observer
from bench.texts import texts
from cpkit.inventory import Cluster
from cpkit.journal import read_events
from cpkit.lab import ssh_command
from cpkit.lab.store import known_layout
from cpkit.paths import state_dir

CPKIT = (sys.executable, "-m", "cpkit")
SAMPLES = 5
PKI = "/etc/kubernetes/pki/etcd"
ETCDCTL = (
    *("sudo", "/opt/cpkit/etcd/current/etcdctl", "--endpoints=https://127.0.0.1:2379", f"--cacert={PKI}/ca.crt"),
    *(f"--cert={PKI}/healthcheck-client.crt", f"--key={PKI}/healthcheck-client.key", "endpoint", "health", "--cluster"),
)
Say = Callable[[str], None]


def one_round(nodes: int, *, floor_first: bool, say: Say) -> Round:
    """Measure one size once; which side comes first is the caller's to alternate, as the first one warms caches."""
    by_hand = _floor(nodes, say) if floor_first else None
    with fresh(nodes) as cluster, tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "admin.conf"
        first = _bootstrap(cluster, kubeconfig)
        say(f"{nodes} nodes: bootstrap {first.seconds:.1f} s, {first.changed} changes")
        second = _bootstrap(cluster, kubeconfig)
        say(f"{nodes} nodes: second run {second.seconds:.1f} s, {second.changed} changes")
        health = [run((*CPKIT, "health", "-i", cluster.name)) for _ in range(SAMPLES)]
        etcdctl = [_etcdctl(cluster) for _ in range(SAMPLES)]
        say(f"{nodes} nodes: health {health[0].seconds:.2f} s, etcdctl {etcdctl[0]:.2f} s")
    return Round(
        nodes=nodes,
        floor=by_hand or _floor(nodes, say),
        bootstrap=first,
        second=second,
        health=[ran.seconds for ran in health],
        health_mb=max(ran.peak_mb for ran in health),
        etcdctl=etcdctl,
    )


def start() -> Start:
    """How long the command line takes to start."""
    run((*CPKIT, "--version"))
    return Start([run((*CPKIT, "--version")).seconds for _ in range(SAMPLES * 2)])


def _floor(nodes: int, say: Say) -> Floor:
    with fresh(nodes) as cluster:
        result = floor.bring_up(cluster, texts(cluster.name))
    say(f"{nodes} nodes: floor {result.seconds:.1f} s")
    return result


def _bootstrap(cluster: Cluster, kubeconfig: Path) -> Bootstrap:
    began = time.time()
    ran = run((*CPKIT, "bootstrap", "-i", cluster.name, "--yes", "--kubeconfig", str(kubeconfig)))
    ended = time.monotonic()
    _observer(cluster, kubeconfig).await_ready()
    ready_after = time.monotonic() - ended
    directory = max((state_dir() / "clusters" / cluster.name / "runs").iterdir())
    assert directory.stat().st_mtime >= began - 1, "the newest run directory is of another run"
    report = json.loads((directory / "report.json").read_text())
    return Bootstrap(
        seconds=ran.seconds,
        steps={step["step"]: step["seconds"] for step in report["steps"]},
        roles=_roles(directory),
        ready_after=ready_after,
        changed=report["changed"],
        cpkit_mb=ran.peak_mb,
        ansible_mb=ran.ansible_mb,
    )


def _roles(directory: Path) -> dict[str, float]:
    """Seconds each role was under way: from a task of it to the next task of any."""
    spent: dict[str, float] = {}
    role, since = "", 0.0
    for event in read_events(directory):
        if event["event"] not in {"task", "stats"}:
            continue
        if role:
            spent[role] = round(spent.get(role, 0.0) + event["at"] - since, 2)
        role, since = event.get("role", ""), event["at"]
    return spent


def _observer(cluster: Cluster, kubeconfig: Path) -> Observer:
    body = YAML(typ="safe").load(kubeconfig)
    user = body["users"][0]["user"]
    authority = body["clusters"][0]["cluster"]["certificate-authority-data"]
    encoded = (authority, user["client-certificate-data"], user["client-key-data"])
    return Observer(cluster, *(base64.b64decode(text).decode() for text in encoded))


def _etcdctl(cluster: Cluster) -> float:
    layout = known_layout(cluster.name)
    argv = ssh_command(layout, layout.machine(cluster.control_plane[0].name), ETCDCTL)
    began = time.monotonic()
    subprocess.run(argv, capture_output=True, check=True, timeout=60)
    return time.monotonic() - began
