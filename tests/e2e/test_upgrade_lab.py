"""An upgrade under load: refused, taken back, cut off and finished, with nothing lost and no request failed."""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cpkit import artifacts
from cpkit.errors import Exit
from cpkit.facts.collect import collect
from cpkit.inventory import load
from cpkit.paths import state_dir
from cpkit.versions import Version, version_table
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import HEALTHY, Cluster, await_that, bootstrap, traffic

NEWEST = list(version_table().minors.values())[-1]
# Another pair of versions may be tried, as "1.36.4 3.6.17".
TO, ETCD = os.environ.get("CPKIT_UPGRADE", f"{NEWEST.kubernetes} {NEWEST.etcd}").split()
BROKEN = "1.36.99"
STUB = b"#!/bin/sh\necho broken on purpose >&2\nexit 1\n"
LONGEST = 900.0  # seconds an upgrade may take on a machine that does other work too
KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
PLACE = "default"


@pytest.fixture(scope="module")
def cluster(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    artifacts.ensure(Version.parse(TO), Version.parse(ETCD))
    return bootstrap(make_lab(nodes=3, balancers=1), tmp_path_factory.mktemp("kubeconfig"))


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[str]:
    """A version in the cache whose every binary ends at once; it is verified, for just that was published."""
    target = artifacts.Target(artifacts.KUBERNETES, Version.parse(BROKEN), artifacts.host_arch())
    folder = tmp_path / target.release_dir
    folder.mkdir(parents=True)
    for name in target.product.binaries:
        (folder / name).write_bytes(STUB)
        (folder / f"{name}.sha256").write_text(hashlib.sha256(STUB).hexdigest())
    artifacts.fetch(target, source=str(tmp_path))
    yield BROKEN
    artifacts.Cache.default().drop(target)


def versions(cluster: Cluster) -> dict[str, dict[str, tuple[str, str]]]:
    """Node -> component -> the version that runs, and the one that is selected."""
    told: dict[str, dict[str, tuple[str, str]]] = {}

    def all_told() -> bool:
        for name, facts in collect(load(cluster.lab.inventory)).control_plane.items():
            if facts.host and facts.host.components:
                told[name] = {part: (each.running, each.selected) for part, each in facts.host.components.items()}
        return told.keys() == {"cp1", "cp2", "cp3"}

    await_that(all_told, 30, lambda: f"only {', '.join(told)} told its versions")
    return told


def all_at(kubernetes: str, etcd: str) -> dict[str, dict[str, tuple[str, str]]]:
    row = dict.fromkeys(KUBERNETES, (kubernetes, kubernetes)) | {"etcd": (etcd, etcd)}
    return dict.fromkeys(("cp1", "cp2", "cp3"), row)


def report(cluster: Cluster) -> dict[str, Any]:
    """What the newest upgrade left."""
    run = max((state_dir() / "clusters" / cluster.lab.name / "runs").glob("*-upgrade"))
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found


@dataclass
class Writer:
    """Writes an object at each turn and remembers those that were acknowledged."""

    cluster: Cluster
    acknowledged: list[str] = field(default_factory=list)
    number: int = 0
    prefix: str = field(default_factory=lambda: f"written-{secrets.token_hex(3)}")

    def __call__(self) -> str:
        self.number += 1
        name = f"{self.prefix}-{self.number}"
        code, _, error = self.cluster.try_kubectl("create", "configmap", name, "-n", PLACE, "-o", "name")
        if not code:
            self.acknowledged.append(name)
        return error if code else ""

    def missing(self) -> set[str]:
        held = self.cluster.kubectl("get", "configmaps", "-n", PLACE, "-o", "name").split()
        return {name for name in self.acknowledged if f"configmap/{name}" not in held}


def uids(cluster: Cluster) -> set[str]:
    words = ("get", "namespaces,serviceaccounts,clusterroles", "-A", "-o", "jsonpath={.items[*].metadata.uid}")
    return set(cluster.kubectl(*words).split())


def test_the_plan_tells_every_step_and_changes_nothing(cluster: Cluster) -> None:
    before = cluster.unit_starts()
    done = run_cpkit("upgrade", "plan", "-i", cluster.lab.name, "--to", TO, "--etcd", ETCD, "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    plan = json.loads(done.stdout)
    leader = str(cluster.health().report["etcd"]["leader"])
    assert [each["components"] for each in plan["rounds"]] == [["etcd"], [KUBERNETES[0]], list(KUBERNETES[1:])]
    assert all(each["nodes"][-1] == leader and len(each["nodes"]) == 3 for each in plan["rounds"])
    assert {each["running"] for each in plan["changes"] if each["component"] == "etcd"} == {"3.6.16"}
    assert cluster.unit_starts() == before


def test_what_must_not_be_is_refused_before_anything_is_done(cluster: Cluster) -> None:
    before = cluster.unit_starts()
    for words, says in (
        (("--to", "1.35.4", "--no-backup"), "downgrade"),
        (("--to", TO, "--etcd", ETCD), "no backup is configured"),
    ):
        done = run_cpkit("upgrade", "rolling", "-i", cluster.lab.name, "--yes", *words)
        assert done.returncode == Exit.REFUSED, done.stdout + done.stderr
        assert says in done.stderr
    assert cluster.unit_starts() == before


def test_a_kubelet_that_is_too_old_for_the_target_is_found_through_the_api(cluster: Cluster) -> None:
    names = ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion")
    info = dict.fromkeys((*names, "kubeProxyVersion", "operatingSystem", "architecture"), "") | {
        "kubeletVersion": "v1.30.0"
    }
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "old"}, "status": {"nodeInfo": info}}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(node))
    try:
        done = run_cpkit("upgrade", "plan", "-i", cluster.lab.name, "--to", TO, "--etcd", ETCD, "-o", "json")
    finally:
        cluster.kubectl("delete", "node", "old")
    assert done.returncode == Exit.REFUSED, done.stdout + done.stderr
    assert [(each["rule"], "old" in each["text"]) for each in json.loads(done.stdout)["refusals"]] == [
        ("kubelets", True)
    ]


def test_bootstrap_does_not_upgrade(cluster: Cluster) -> None:
    variables = cluster.lab.inventory / "group_vars" / "all.yml"
    before, starts, held = variables.read_text(), cluster.unit_starts(), versions(cluster)
    variables.write_text(f"{before}cluster_kubernetes_version: {TO}\ncluster_etcd_version: {ETCD}\n")
    try:
        done = run_cpkit("bootstrap", "-i", cluster.lab.name, "--yes")
    finally:
        variables.write_text(before)
    assert done.returncode == Exit.REFUSED, done.stdout + done.stderr
    assert "cpkit upgrade rolling" in done.stderr
    assert cluster.unit_starts() == starts
    assert versions(cluster) == held, "nor would any unit start another version by itself"


def test_a_version_that_does_not_come_up_is_taken_back_and_the_run_stops(cluster: Cluster, broken: str) -> None:
    before = versions(cluster)
    writer = Writer(cluster)
    with traffic(writer, clients=1) as seen:
        command = ("upgrade", "rolling", "-i", cluster.lab.name, "--to", broken, "--yes", "--no-backup")
        done = run_cpkit(*command, timeout=LONGEST)
    assert done.returncode == Exit.FAILED, done.stdout + done.stderr
    assert "did not come up, and the node runs the version before again" in done.stderr
    assert "broken on purpose" in done.stderr
    assert seen.failed == 0, seen
    turns = [step for step in report(cluster)["steps"] if step["step"].startswith("Upgrade")]
    assert [step["outcome"] for step in turns] == ["failed"], "no second node was touched"
    assert report(cluster)["availability"]["failed"] == 0
    assert versions(cluster) == before
    assert cluster.settle().rc == HEALTHY
    assert "cluster_kubernetes_version" not in (cluster.lab.inventory / "group_vars" / "all.yml").read_text()
    assert not writer.missing()


def test_an_upgrade_that_was_killed_is_finished_under_load_with_nothing_lost(cluster: Cluster) -> None:
    kept, writer = uids(cluster), Writer(cluster)
    words = ("upgrade", "rolling", "-i", cluster.lab.name, "--to", TO, "--etcd", ETCD, "--yes", "--no-backup")
    with traffic(writer, clients=1) as seen:
        process = subprocess.Popen(
            [sys.executable, "-m", "cpkit", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            second = [name for name in ("cp1", "cp2", "cp3") if name != cluster.health().report["etcd"]["leader"]][1]
            switched = f"readlink /opt/cpkit/etcd/current | grep -qx {ETCD} && echo yes || true"
            await_that(lambda: cluster.on_each(switched, [second])[second] == "yes", LONGEST)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert versions(cluster) != all_at(TO, ETCD)
        began = time.monotonic()
        done = run_cpkit(*words, timeout=LONGEST)
        seconds = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finishes an upgrade that was begun" in done.stderr
    assert versions(cluster) == all_at(TO, ETCD)
    told = report(cluster)
    print(f"{seconds:.0f} s, {told['availability']}, terms {told['raft_terms_passed']}, writer {seen}")  # noqa: T201
    assert told["availability"]["failed"] == 0, told["availability"]
    assert seen.failed == 0, seen
    assert seen.answered == len(writer.acknowledged) > 0
    assert not writer.missing()
    assert kept <= uids(cluster)
    assert told["raft_terms_passed"] <= 1
    health = cluster.settle()
    assert ("api.version", "cp1") not in health.troubles("warn"), "the inventory asks for what runs"
    told = json.loads(cluster.kubectl("get", "--raw", "/version"))
    assert f"{told['major']}.{told['minor']}" == Version.parse(TO).series


def test_a_second_run_touches_nothing(cluster: Cluster) -> None:
    before = cluster.unit_starts()
    done = run_cpkit("upgrade", "rolling", "-i", cluster.lab.name, "--to", TO, "--etcd", ETCD, "--yes", "--no-backup")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"runs Kubernetes {TO}, etcd {ETCD}" in done.stdout
    done = run_cpkit("bootstrap", "-i", cluster.lab.name, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is healthy: 0 changes" in done.stdout
    assert cluster.unit_starts() == before
