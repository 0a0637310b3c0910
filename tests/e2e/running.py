"""A running cluster in a lab, and what a test asks of it."""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpkit.artifacts import cached
from cpkit.inventory import Node, load
from cpkit.ssh import connect, fan_out
from tests.e2e.raised import RaisedLab, run_cpkit

POLL = 0.2
HEALTHY, NOT_HEALTHY, UNKNOWN = 0, 3, 4
CLIENTS = 3
ENOUGH = 11  # answers without which a look at the traffic says nothing


@dataclass(frozen=True)
class Health:
    """What `cpkit health -o json` ended with, and how long a user waited for it."""

    rc: int
    report: dict[str, Any]
    seconds: float

    @property
    def summary(self) -> str:
        return str(self.report["etcd"]["summary"])

    def troubles(self, *levels: str) -> set[tuple[str, str]]:
        """(check, node) of every finding of these levels."""
        return {(f["check"], f["node"]) for f in self.report["findings"] if f["level"] in levels}

    def text(self, check: str, node: str = "") -> str:
        texts = [f["text"] for f in self.report["findings"] if (f["check"], f["node"]) == (check, node)]
        return "; ".join(texts)


@dataclass(frozen=True)
class Cluster:
    """A cluster that `cpkit bootstrap` made of a lab."""

    lab: RaisedLab
    kubeconfig: Path
    output: str = field(default="", repr=False)  # what bootstrap printed

    @property
    def control_plane(self) -> tuple[str, ...]:
        return tuple(node.name for node in load(self.lab.inventory).control_plane)

    @property
    def balancers(self) -> tuple[str, ...]:
        return tuple(node.name for node in load(self.lab.inventory).load_balancers)

    @property
    def endpoint(self) -> str:
        return load(self.lab.inventory).endpoint.host

    def try_kubectl(self, *words: str, stdin: str = "", kubeconfig: Path | None = None) -> tuple[int, str, str]:
        """Run the kubectl that belongs to the cluster, through the endpoint."""
        command = [str(kubectl(self.lab)), "--kubeconfig", str(kubeconfig or self.kubeconfig), "--request-timeout=10s"]
        done = subprocess.run([*command, *words], input=stdin, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout.strip(), done.stderr.strip()

    def kubectl(self, *words: str, stdin: str = "") -> str:
        code, out, err = self.try_kubectl(*words, stdin=stdin)
        assert code == 0, f"kubectl {' '.join(words)}: {err}"
        return out

    def health(self, *words: str) -> Health:
        began = time.monotonic()
        done = run_cpkit("health", "-i", self.lab.name, "-o", "json", *words, timeout=60)
        seconds = time.monotonic() - began
        assert done.stdout, done.stderr
        assert not done.stderr, done.stderr
        return Health(done.returncode, json.loads(done.stdout), seconds)

    def settle(self, within: float = 60) -> Health:
        """Health, as soon as it finds the cluster healthy."""
        return self.health_when(lambda health: health.rc == HEALTHY, within)

    def health_when(self, condition: Callable[[Health], bool], within: float = 30) -> Health:
        """The first health of which something is true."""
        seen: list[Health] = []

        def holds() -> bool:
            seen.append(self.health())
            return condition(seen[-1])

        await_that(holds, within, lambda: f"{seen[-1].summary}; {seen[-1].troubles('fail', 'unknown')}")
        return seen[-1]

    def vip_holder(self) -> str:
        """The balancers that hold the endpoint's address, joined by a comma."""
        told = self.on_each(f"ip -o address show to {self.endpoint}", self.balancers)
        return ",".join(name for name, held in told.items() if held)

    def on_each(self, line: str, names: Sequence[str] = (), *, timeout: float = 20) -> dict[str, str]:
        """What a shell line prints on each of these machines, or the control plane, run as root on all at once."""

        def work(node: Node) -> str:
            with connect(node) as connection:
                done = connection.run(["sh", "-c", line], sudo=True, timeout=timeout)
            assert done.rc == 0, f"{node.name}: {line}: {done.stderr.decode()}"
            return done.stdout.decode().strip()

        wanted = names or self.control_plane
        nodes = [node for node in load(self.lab.inventory).nodes if node.name in wanted]
        told = fan_out(nodes, work, deadline=timeout + 10)
        assert all(isinstance(answer, str) for answer in told.values()), told
        return {name: str(answer) for name, answer in told.items()}

    def unit_starts(self) -> dict[str, str]:
        """When every unit of ours last started, on every machine."""
        show = "systemctl show --property Id,MainPID,ExecMainStartTimestampMonotonic"
        control_plane = f"{show} etcd kube-apiserver kube-controller-manager kube-scheduler"
        return self.on_each(control_plane) | self.on_each(f"{show} haproxy keepalived", self.balancers)


def kubectl(lab: RaisedLab) -> Path:
    """The verified kubectl in the cache, of the version the cluster has."""
    spec = load(lab.inventory).spec
    bundle = cached(spec.kubernetes, spec.etcd)
    assert bundle is not None
    return next(binary.path for binary in bundle.components["kubectl"])


def bootstrap(lab: RaisedLab, folder: Path) -> Cluster:
    """Make a cluster of a lab, and keep its kubeconfig in a folder."""
    kubeconfig = folder / f"{lab.name}.conf"
    done = run_cpkit("bootstrap", "-i", lab.name, "--yes", "--kubeconfig", str(kubeconfig), timeout=400)
    assert done.returncode == 0, done.stderr + done.stdout
    cluster = Cluster(lab, kubeconfig, done.stdout)
    await_that(lambda: settled_down(cluster), 60, lambda: "the controllers have not made what every namespace has")
    return cluster


def settled_down(cluster: Cluster) -> bool:
    """Whether a new cluster has made by itself what it makes: in each namespace, and of each API server."""
    made = ["get", "configmaps,serviceaccounts", "--all-namespaces", "--ignore-not-found", "-o", "name"]
    told = Counter(cluster.try_kubectl(*made)[1].split())
    spaces = len(cluster.try_kubectl("get", "namespaces", "-o", "name")[1].split())
    in_each = ("configmap/kube-root-ca.crt", "serviceaccount/default")
    once = "configmap/kube-apiserver-legacy-service-account-token-tracking"
    _, addresses, _ = cluster.try_kubectl(
        "get", "endpoints", "kubernetes", "-o", "jsonpath={.subsets[*].addresses[*].ip}"
    )
    everyone = len(addresses.split()) == len(cluster.control_plane)
    return spaces >= 4 and all(told[name] == spaces for name in in_each) and told[once] == 1 and everyone


def await_that(
    condition: Callable[[], bool], within: float, otherwise: Callable[[], str] = lambda: "it never came true"
) -> float:
    """Wait until a condition holds; how many seconds that took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within:
            raise AssertionError(f"after {within:.0f} s: {otherwise()}")
        time.sleep(POLL)
    return time.monotonic() - began


@dataclass
class Traffic:
    """Requests through the endpoint while something happens."""

    answered: int = 0
    failed: int = 0
    longest_gap: float = 0.0
    errors: list[str] = field(default_factory=list)


@contextmanager
def traffic(ask: Callable[[], str], clients: int = CLIENTS) -> Iterator[Traffic]:
    """Clients that ask over and over while the body runs, and until there are enough answers.

    `ask` says what went wrong. A gap is a time in which no client got an answer: one alone that waits for a silent
    server would measure its own patience.
    """
    seen, over, lock = Traffic(), threading.Event(), threading.Lock()
    last = time.monotonic()

    def note(error: str) -> None:
        nonlocal last
        now = time.monotonic()
        seen.longest_gap = max(seen.longest_gap, now - last)
        if error:
            seen.failed += 1
            seen.errors.append(error)
        else:
            seen.answered += 1
            last = now

    def run() -> None:
        while not over.is_set():
            error = ask()
            with lock:
                note(error)
            over.wait(0.1 * clients)

    threads = [threading.Thread(target=run, name=f"traffic {number}") for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
        await_that(lambda: seen.answered >= ENOUGH, 30, lambda: str(seen))
    finally:
        over.set()
        for thread in threads:
            thread.join()
