"""Upgrades under load: refused, cut off, finished, taken back, finalized; nothing lost, and no request failed."""

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
from cpkit.versions import Version, version_table
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import HEALTHY, Cluster, await_that, bootstrap, traffic

NEWEST = list(version_table().minors.values())[-1]
FROM, BEFORE = version_table().minors[version_table().default].kubernetes, "3.6.16"
# Another pair of versions may be tried, as "1.36.4 3.6.17".
TO, ETCD = os.environ.get("CPKIT_UPGRADE", f"{NEWEST.kubernetes} {NEWEST.etcd}").split()
BROKEN = "1.36.99"
STUB = "#!/bin/sh\necho broken on purpose >&2\n{then}\n"
LONGEST = 900.0  # seconds an upgrade may take on a machine that does other work too
KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
PLACE = "default"


@pytest.fixture(scope="module")
def cluster(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    artifacts.ensure(Version.parse(TO), Version.parse(ETCD))
    return bootstrap(make_lab(nodes=3, balancers=1), tmp_path_factory.mktemp("kubeconfig"))


@pytest.fixture(params=["exit 1", pytest.param("exec sleep 1000", marks=pytest.mark.long)], ids=["ends", "hangs"])
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A version in the cache whose binaries end at once, or do nothing; it is verified, for just that was published."""
    stub = STUB.format(then=request.param).encode()
    target = artifacts.Target(artifacts.KUBERNETES, Version.parse(BROKEN), artifacts.host_arch())
    folder = tmp_path / target.release_dir
    folder.mkdir(parents=True)
    for name in target.product.binaries:
        (folder / name).write_bytes(stub)
        (folder / f"{name}.sha256").write_text(hashlib.sha256(stub).hexdigest())
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


def report(cluster: Cluster, operation: str = "upgrade") -> dict[str, Any]:
    """What the newest upgrade left."""
    found: dict[str, Any] = json.loads((cluster.lab.runs(operation)[-1] / "report.json").read_text())
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


def upgrade(verb: str, cluster: Cluster, *words: str) -> "subprocess.CompletedProcess[str]":
    return run_cpkit("upgrade", verb, "-i", cluster.lab.name, *words, "--yes", "--no-backup", timeout=LONGEST)


def emulation(cluster: Cluster) -> dict[str, str]:
    """Node -> the minor that its own API server says it behaves like; its own when it does not say."""
    ask = "kubectl --kubeconfig /etc/kubernetes/admin.conf --server https://127.0.0.1:6443 get --raw /version"
    told = {name: json.loads(said) for name, said in cluster.on_each(f"/opt/cpkit/kubectl/current/{ask}").items()}
    return {
        name: f"{said.get('emulationMajor', said['major'])}.{said.get('emulationMinor', said['minor'])}"
        for name, said in told.items()
    }


def same_everywhere(value: str) -> dict[str, str]:
    return dict.fromkeys(("cp1", "cp2", "cp3"), value)


def test_an_upgrade_that_was_killed_is_finished_under_load_with_nothing_lost(cluster: Cluster) -> None:
    kept, writer = uids(cluster), Writer(cluster)
    words = ("upgrade", "rolling", "-i", cluster.lab.name, "--to", TO, "--etcd", ETCD, "--rollback-safe")
    command = (*words, "--yes", "--no-backup")
    with traffic(writer, clients=1) as seen:
        process = subprocess.Popen(
            [sys.executable, "-m", "cpkit", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
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
        done = run_cpkit(*command, timeout=LONGEST)
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
    assert ("api.emulation", "") in health.troubles("warn"), "and health says that it is not final"
    assert emulation(cluster) == same_everywhere(FROM.series)


def test_all_of_it_is_taken_back_with_what_was_written_in_between(cluster: Cluster) -> None:
    kept, writer = uids(cluster), Writer(cluster)
    with traffic(writer, clients=1) as seen:
        done = upgrade("rollback", cluster)
    assert done.returncode == 0, done.stdout + done.stderr
    assert versions(cluster) == all_at(str(FROM), BEFORE), "etcd by its own downgrade"
    assert report(cluster, "rollback")["availability"]["failed"] == 0
    turns = [step["step"].rpartition(" on ")[0] for step in report(cluster, "rollback")["steps"]]
    order = list(dict.fromkeys(turn for turn in turns if turn.startswith("Take back")))
    assert order == ["Take back the controllers", "Take back kube-apiserver", "Take back etcd"]
    assert seen.failed == 0, seen
    assert seen.answered == len(writer.acknowledged) > 0
    assert not writer.missing()
    assert kept <= uids(cluster)
    health = cluster.settle()
    assert not {check for check, _ in health.troubles("warn")} & {"api.version", "api.emulation", "etcd.version"}
    storage = {status["storage_version"] for status in collect_statuses(cluster)}
    assert {each.rpartition(".")[0] for each in storage} == {Version.parse(BEFORE).series}


def collect_statuses(cluster: Cluster) -> list[dict[str, str]]:
    """What each member says of its storage and of a downgrade."""
    statuses = collect(load(cluster.lab.inventory)).etcd.statuses.values()
    assert not any(status.downgrade for status in statuses), "the downgrade is over"
    return [{"storage_version": status.storage_version} for status in statuses]


def test_a_saved_plan_is_refused_once_the_cluster_has_drifted(cluster: Cluster, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    words = ("upgrade", "plan", "-i", cluster.lab.name, "--to", TO, "--rollback-safe", "-o", str(plan))
    assert run_cpkit(*words).returncode == 0
    variables = cluster.lab.inventory / "group_vars" / "all.yml"
    before, starts = variables.read_text(), cluster.unit_starts()
    variables.write_text(f"{before}etcd_heartbeat_interval_ms: 150\n")
    try:
        done = upgrade("rolling", cluster, "--plan", str(plan))
    finally:
        variables.write_text(before)
    assert done.returncode == Exit.REFUSED, done.stdout + done.stderr
    assert "inventory: etcd_heartbeat_interval_ms was changed" in done.stderr
    assert cluster.unit_starts() == starts


def test_a_disk_that_is_full_on_the_second_node_stops_there_and_the_saved_plan_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    words = ("upgrade", "plan", "-i", cluster.lab.name, "--to", TO, "--rollback-safe", "--save", str(plan))
    made = run_cpkit(*words, "-o", "json")
    assert made.returncode == 0, made.stdout + made.stderr
    first, second, third = json.loads(made.stdout)["rounds"][0]["nodes"]
    before, writer = versions(cluster), Writer(cluster)
    cluster.on_each(
        "mkdir -p /var/lib/cpkit && mount -t tmpfs -o size=4k tmpfs /var/lib/cpkit "
        "&& head -c 4096 /dev/zero > /var/lib/cpkit/full",
        [second],
    )
    with traffic(writer, clients=1) as seen:
        try:
            done = upgrade("rolling", cluster, "--plan", str(plan))
        finally:
            cluster.on_each("umount /var/lib/cpkit", [second])
        assert done.returncode == Exit.FAILED, done.stdout + done.stderr
        assert f"{second}: " in done.stderr
        assert "No space left on device" in done.stderr
        now = versions(cluster)
        assert (now[first]["kube-apiserver"], now[second], now[third]) == ((TO, TO), before[second], before[third])
        done = upgrade("rolling", cluster, "--plan", str(plan))
    assert done.returncode == 0, done.stdout + done.stderr
    assert seen.failed == 0, seen
    assert not writer.missing()
    assert versions(cluster) == all_at(TO, BEFORE)
    assert emulation(cluster) == same_everywhere(FROM.series)


def test_a_node_that_loses_its_power_in_its_turn_stops_the_run(cluster: Cluster) -> None:
    writer = Writer(cluster)
    words = ("upgrade", "finalize", "-i", cluster.lab.name, "--yes", "--no-backup")
    with traffic(writer, clients=1):
        process = subprocess.Popen(
            [sys.executable, "-m", "cpkit", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            lost = await_turn(cluster)
            done = run_cpkit("lab", "stop", "--power", f"{cluster.lab.name}/{lost}")
            assert done.returncode == 0, done.stderr
            told = process.communicate(timeout=LONGEST)[1]
        finally:
            process.kill()
            process.wait()
        assert process.returncode in (Exit.FAILED, Exit.UNKNOWN), told
        assert f"{lost}: " in told
        others = [name for name in ("cp1", "cp2", "cp3") if name != lost]
        assert {finalized(cluster, name) for name in others} == {False}, "no other node was touched"
        assert cluster.kubectl("get", "--raw", "/readyz") == "ok", "the API is served by the others"
        cluster.lab.do("start", lost)
        cluster.settle()
    assert not writer.missing()


def finalized(cluster: Cluster, node: str) -> bool:
    """Whether a node's API server is to run without emulation from its next start on."""
    look = "grep -q emulated-version /etc/systemd/system/kube-apiserver.service && echo emulates || echo final"
    return cluster.on_each(look, [node])[node] == "final"


def await_turn(cluster: Cluster) -> str:
    """The node whose turn it is: the first whose API server is no longer to emulate."""
    found: list[str] = []

    def begun() -> bool:
        found.extend(name for name in ("cp1", "cp2", "cp3") if finalized(cluster, name))
        return bool(found)

    await_that(begun, LONGEST)
    return found[0]


def test_finalizing_ends_the_emulation_and_the_way_back(cluster: Cluster) -> None:
    writer = Writer(cluster)
    with traffic(writer, clients=1) as seen:
        done = upgrade("finalize", cluster)
    assert done.returncode == 0, done.stdout + done.stderr
    assert report(cluster, "finalize")["availability"]["failed"] == 0
    assert (seen.failed, writer.missing()) == (0, set()), seen
    assert versions(cluster) == all_at(TO, BEFORE)
    assert emulation(cluster) == same_everywhere(Version.parse(TO).series)
    assert ("api.emulation", "") not in cluster.settle().troubles("warn")
    starts = cluster.unit_starts()
    done = upgrade("rollback", cluster, "--to", str(FROM))
    assert done.returncode == Exit.REFUSED, done.stdout + done.stderr
    assert f"does not emulate {FROM.series}" in done.stderr
    assert cluster.unit_starts() == starts


def test_a_second_run_touches_nothing(cluster: Cluster) -> None:
    before = cluster.unit_starts()
    done = upgrade("rolling", cluster, "--to", TO)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"runs Kubernetes {TO}, etcd {BEFORE}" in done.stdout
    done = run_cpkit("bootstrap", "-i", cluster.lab.name, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is healthy: 0 changes" in done.stdout
    assert cluster.unit_starts() == before
