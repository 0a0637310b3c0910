"""Backups of a cluster: taken by one command, whole or not at all, with and without quorum."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cpkit.backup import Bundle, keys, open_bundle, open_store
from cpkit.backup.naming import parse
from cpkit.backup.parts import node_path
from cpkit.facts.member import open_member
from cpkit.inventory import load
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import Cluster, await_that, bootstrap
from tests.e2e.scheduling import fetched, make_store, taken

PADDING = 200  # values of a megabyte, so that a backup takes long enough to be interfered with
PERIOD = 10  # seconds from one scheduled backup to the next
BEGUN = 20_000_000  # bytes in the store by which a stream is well under way


@pytest.fixture(scope="module")
def cluster(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A cluster whose inventory says where backups go and whom they are sealed for."""
    cluster = bootstrap(make_lab(nodes=3, balancers=1), tmp_path_factory.mktemp("kubeconfig"))
    folder = tmp_path_factory.mktemp("backups")
    recipient = run_cpkit("backup", "key", str(folder / "backup.key")).stdout.strip()
    with (cluster.lab.inventory / "group_vars" / "all.yml").open("a") as file:
        file.write(f"backup_store: {folder}/store\nbackup_recipients: [{recipient}]\nbackup_keep_last: 2\n")
    return cluster


@pytest.fixture(scope="module")
def folder(cluster: Cluster) -> Path:
    return Path(load(cluster.lab.inventory).spec.backup_store).parent


def backup(cluster: Cluster, *words: str) -> dict[str, Any]:
    done = run_cpkit("backup", "etcd", "-i", cluster.lab.name, "-o", "json", *words)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def listed(cluster: Cluster, folder: Path | None = None) -> dict[str, Any]:
    where = ("--store", str(folder)) if folder else ()
    done = run_cpkit("backup", "list", "-i", cluster.lab.name, "-o", "json", *where)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def opened(folder: Path, name: str) -> Bundle:
    with open_store(str(folder / "store")) as store:
        return open_bundle(store, name, keys.read_identities(folder / "backup.key"))


def test_one_command_takes_everything_that_a_restore_needs(cluster: Cluster, folder: Path) -> None:
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    told = backup(cluster)
    name = told["backup"]["name"]
    assert [each["name"] for each in listed(cluster)["backups"]] == [name]
    bundle = opened(folder, "latest")
    (hashed,) = bundle.manifest.hashes  # of the source: a look has compared all members before
    assert (hashed.node, hashed.revision) == (bundle.manifest.source.node, bundle.manifest.revision)
    assert bundle.manifest.source.quorum
    assert not bundle.manifest.source.leader
    live = cluster.kubectl("get", "configmaps", "--all-namespaces", "--output=name").splitlines()
    assert bundle.manifest.resources is not None
    assert bundle.manifest.resources["configmaps"] == len(live)
    for part in bundle.names:
        path = node_path(part)
        if path:
            digests = set(cluster.on_each(f"sha256sum < {path}").values())
            assert f"{bundle.manifest.part(part).sha256}  -" in digests, part
    assert bundle.read("inventory/hosts.yml") == (cluster.lab.inventory / "hosts.yml").read_bytes()
    assert json.loads(bundle.read("versions.json"))["nodes"]["cp1"]["etcd"] == bundle.manifest.etcd


def test_a_backup_is_brought_back_on_the_operators_machine_and_objects_taken_from_it(
    cluster: Cluster, folder: Path
) -> None:
    cluster.kubectl("create", "secret", "generic", "db", "--from-literal=password=hunter2")
    cluster.kubectl("create", "configmap", "gone", "--from-literal=a=yes")
    told = backup(cluster)
    words = ("-i", cluster.lab.name, "--identity", str(folder / "backup.key"))
    done = run_cpkit("backup", "verify", "latest", "--drill", "-o", "json", *words)
    assert done.returncode == 0, done.stderr + done.stdout
    receipt = json.loads(done.stdout)[0]["receipt"]
    assert receipt["hash"] == told["manifest"]["hashes"][0]["hash"]
    assert receipt["secrets"] == told["manifest"]["resources"]["secrets"] > 0
    assert listed(cluster)["backups"][0]["verified"][-1]["receipt"] == receipt
    unchanged = run_cpkit("backup", "diff", "latest", *words)
    assert unchanged.returncode == 0, unchanged.stdout + unchanged.stderr
    cluster.kubectl("delete", "secret/db", "configmap/gone")
    cluster.kubectl("create", "configmap", "new")
    differs = run_cpkit("backup", "diff", "latest", "-o", "json", *words)
    assert differs.returncode == 1, differs.stderr
    assert [tuple(each.values()) for each in json.loads(differs.stdout)["differences"]] == [
        ("configmaps", "default/gone", "removed"),
        ("configmaps", "default/new", "added"),
        ("secrets", "default/db", "removed"),
    ]
    for what in ("secret/db", "configmap/gone"):
        taken = run_cpkit("backup", "get", what, *words)
        assert taken.returncode == 0, taken.stderr
        cluster.kubectl("apply", "-f", "-", stdin=taken.stdout)
    assert cluster.kubectl("get", "secret/db", "--output=jsonpath={.data.password}") == "aHVudGVyMg=="
    assert cluster.kubectl("get", "configmap/gone", "--output=jsonpath={.data.a}") == "yes"


def test_no_secret_reaches_the_operators_disk(cluster: Cluster, folder: Path) -> None:
    backup(cluster)
    secret = cluster.on_each("cat /etc/kubernetes/pki/ca.key", ["cp1"])["cp1"].splitlines()[1].encode()
    runs = Path.home() / ".local/state/cpkit/clusters" / cluster.lab.name
    for root in (folder, runs):
        files = [path for path in root.rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if secret in path.read_bytes()]


def test_in_the_clear_it_holds_no_private_key_unless_asked_twice(cluster: Cluster, tmp_path: Path) -> None:
    told = backup(cluster, "--no-encrypt", "--to", str(tmp_path / "clear"))
    names = {part["name"] for part in told["manifest"]["parts"]}
    assert "pki/ca.crt" in names
    assert not {name for name in names if name.endswith(".key") or name == "encryption.yaml"}
    assert "pki/ca.key: the backup is not encrypted" in told["manifest"]["without"]
    told = backup(cluster, "--no-encrypt", "--include-keys-in-clear", "--to", str(tmp_path / "keys"))
    assert {"pki/ca.key", "encryption.yaml"} <= {part["name"] for part in told["manifest"]["parts"]}
    assert run_cpkit("backup", "etcd", "-i", cluster.lab.name, "--include-keys-in-clear").returncode == 2


def test_verifying_and_pruning_by_command(cluster: Cluster, folder: Path) -> None:
    while len(listed(cluster)["backups"]) < 3:
        backup(cluster)
        time.sleep(1.1)  # names differ by the second
    words = ("-i", cluster.lab.name, "--identity", str(folder / "backup.key"))
    done = run_cpkit("backup", "verify", "latest", *words)
    assert done.returncode == 0, done.stderr
    assert "is sound" in done.stdout
    newest = listed(cluster)["backups"][0]
    assert "read" in [each["proof"] for each in newest["verified"]]
    done = run_cpkit("backup", "prune", "-i", cluster.lab.name, "--yes")
    assert done.returncode == 0, done.stderr
    left = listed(cluster)["backups"]
    assert len(left) == 2
    assert left[0]["name"] == newest["name"]
    assert run_cpkit("backup", "verify", "--all", *words).returncode == 0


def schedule(cluster: Cluster, *words: str) -> str:
    done = run_cpkit("backup", "schedule", "-i", cluster.lab.name, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def scheduled(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with its nodes taking backups by themselves; the schedule is taken away in the end."""
    variables = cluster.lab.inventory / "group_vars" / "all.yml"
    before = variables.read_text()
    lines = f"backup_schedule_store: {make_store(cluster)}\nbackup_schedule_jitter_seconds: 1\n"
    variables.write_text(f"{before}{lines}backup_schedule_at: '*:*:0/{PERIOD}'\n")
    try:
        assert "Dry run" in schedule(cluster, "--dry-run")
        assert set(cluster.on_each("ls /etc/cpkit").values()) == {"cluster.json"}
        assert "cp1, cp2, cp3" in schedule(cluster, "--yes")
        assert "Nothing was changed" in schedule(cluster)
        yield cluster
    finally:
        variables.write_text(before)
        schedule(cluster, "--yes")


def test_by_their_timers_one_node_takes_each_backup(scheduled: Cluster, folder: Path, tmp_path: Path) -> None:
    await_that(lambda: sum(map(len, taken(scheduled).values())) >= 3, 120, lambda: str(taken(scheduled)))
    names = [name for each in taken(scheduled).values() for name in each]
    slots = [int(told.created.timestamp() - 1) // PERIOD for told in map(parse, names) if told]
    assert len(set(slots)) == len(names)
    backup(scheduled)
    (tmp_path / "backup.key").write_bytes((folder / "backup.key").read_bytes())
    fetched(scheduled, tmp_path / "store")
    bundle = opened(tmp_path, "latest")
    assert set(bundle.names) == set(opened(folder, "latest").names)
    own, told = opened(folder, "latest").manifest, bundle.manifest
    for field in ("cluster", "cluster_id", "nodes", "endpoint", "kubernetes", "etcd", "storage_version"):
        assert getattr(told, field) == getattr(own, field) != "", field
    assert bundle.read("inventory/hosts.yml") == (scheduled.lab.inventory / "hosts.yml").read_bytes()
    assert len({each.hash for each in bundle.manifest.hashes}) == 1


def test_health_and_prometheus_tell_of_the_schedule(scheduled: Cluster) -> None:
    health = scheduled.health()
    assert health.rc == 0
    assert "cp1, cp2 and cp3 take backups" in health.text("backup.schedule")
    look = "cat /var/lib/prometheus/node-exporter/cpkit_backup.prom"
    await_that(lambda: all("last_success" in text for text in scheduled.on_each(look).values()), 90)
    done = run_cpkit("health", "-i", scheduled.lab.name, "-o", "prometheus")
    written = scheduled.on_each(look)
    for node, text in written.items():
        for metric in (
            "last_success_timestamp_seconds",
            "last_size_bytes",
            "last_duration_seconds",
            "last_run_success",
        ):
            line = f'cpkit_backup_{metric}{{cluster="{scheduled.lab.name}",node="{node}"}}'
            assert line in text
            assert line in done.stdout


def test_when_a_node_is_down_another_takes_the_backup(scheduled: Cluster) -> None:
    before = taken(scheduled)
    busiest = max(before, key=lambda node: len(before[node]))
    others = tuple(node for node in before if node != busiest)
    scheduled.lab.do("stop", busiest)
    try:
        await_that(lambda: sum(map(len, taken(scheduled, others).values())) > sum(len(before[n]) for n in others), 90)
    finally:
        scheduled.lab.do("start", busiest)
    scheduled.settle(90)


def test_taken_away_the_schedule_leaves_nothing(scheduled: Cluster) -> None:
    variables = scheduled.lab.inventory / "group_vars" / "all.yml"
    asked = variables.read_text()
    variables.write_text(asked.replace("backup_schedule_at", "x_at"))
    try:
        assert "taken away from cp1, cp2, cp3" in schedule(scheduled, "--yes")
        assert "Nothing was changed" in schedule(scheduled)
    finally:
        variables.write_text(asked)
    left = "find / -xdev -name '*cpkit*backup*' -not -path '/proc/*'; ls /opt/cpkit /etc/cpkit /var/lib/cpkit"
    assert all("backup" not in told for told in scheduled.on_each(left).values())
    units = scheduled.on_each("systemctl list-unit-files --no-legend 'cpkit-backup*' | wc -l")
    assert set(units.values()) == {"0"}
    with open_member(load(scheduled.lab.inventory).control_plane[0], timeout=30) as client:
        # A run that was stopped leaves its lock, which ends with its lease.
        await_that(lambda: client.keys(b"/cpkit/", b"/cpkit0", revision=0, limit=10) == (), 60)
    assert "no backups are scheduled" in scheduled.health().text("backup.schedule")


@pytest.fixture(scope="module")
def padded(cluster: Cluster) -> Cluster:
    """The cluster with a database of some size."""
    nodes = load(cluster.lab.inventory).control_plane
    with open_member(nodes[0], timeout=30) as client:
        for number in range(PADDING):
            client.etcd3.put(f"/padding/{number}", os.urandom(1_000_000))
    return cluster


def under_way(cluster: Cluster, store: Path, *words: str) -> subprocess.Popen[str]:
    """A backup of cp2 that has begun to stream."""
    argv = [
        sys.executable,
        "-m",
        "cpkit",
        "backup",
        "etcd",
        "-i",
        cluster.lab.name,
        "--to",
        str(store),
        "--member",
        "cp2",
    ]
    process = subprocess.Popen([*argv, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def begun() -> bool:
        assert process.poll() is None, process.communicate()
        return any(path.stat().st_size > BEGUN for path in store.glob(".partial-*"))

    await_that(begun, 60)
    return process


@pytest.mark.parametrize("fault", ["KILL", "STOP"])
def test_a_member_that_dies_or_freezes_while_it_streams(padded: Cluster, tmp_path: Path, fault: str) -> None:
    process = under_way(padded, tmp_path)
    process.send_signal(signal.SIGSTOP)  # so that the stream cannot end before the member does
    try:
        padded.on_each(f"systemctl kill --signal={fault} etcd", ["cp2"])
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=90)
    finally:
        process.send_signal(signal.SIGCONT)
        padded.on_each("systemctl kill --signal=CONT etcd || true", ["cp2"])
    assert process.returncode == 4, out + err
    assert "cp2: " in err.splitlines()[-2] + err.splitlines()[-1]
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
    told = listed(padded, tmp_path)
    assert told.pop("store") == str(tmp_path)
    assert told == {key: [] for key in ("backups", "broken", "leftovers", "streams")}
    padded.settle(90)


def test_a_member_that_is_partitioned_while_it_streams_gives_a_backup_of_what_the_others_hold(
    padded: Cluster, folder: Path, tmp_path: Path
) -> None:
    process = under_way(padded, tmp_path)
    process.send_signal(signal.SIGSTOP)
    try:
        assert run_cpkit("lab", "partition", f"{padded.lab.name}/cp2").returncode == 0
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=90)
    finally:
        process.send_signal(signal.SIGCONT)
        run_cpkit("lab", "heal", padded.lab.name)
    assert process.returncode == 0, out + err
    with open_store(str(tmp_path)) as store:
        manifest = open_bundle(store, "latest", keys.read_identities(folder / "backup.key")).manifest
    assert manifest.source.node == "cp2"
    (told,) = manifest.hashes
    assert told.revision == manifest.revision
    for node in load(padded.lab.inventory).control_plane:
        with open_member(node, timeout=30) as client:
            assert client.hash_kv(manifest.revision).hash == told.hash, node.name
    assert manifest.keys
    padded.settle(90)


def test_an_operator_killed_while_it_streams_leaves_nothing_that_is_listed(padded: Cluster, tmp_path: Path) -> None:
    process = under_way(padded, tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    told = listed(padded, tmp_path)
    assert told["backups"] == []
    assert len(told["leftovers"]) == 1
    taken = backup(padded, "--to", str(tmp_path))
    assert [each["name"] for each in listed(padded, tmp_path)["backups"]] == [taken["backup"]["name"]]


def test_ctrl_c_cleans_up(padded: Cluster, tmp_path: Path) -> None:
    process = under_way(padded, tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_backup_needs_no_quorum_and_says_so(padded: Cluster, folder: Path) -> None:
    try:
        padded.on_each("systemctl stop etcd", ["cp1", "cp3"])
        told = backup(padded, "--to", str(folder / "survivor"))
        done = run_cpkit("backup", "etcd", "-i", padded.lab.name, "--to", str(folder / "survivor"), "--member", "cp1")
    finally:
        padded.on_each("systemctl start --no-block etcd", ["cp1", "cp3"])
    assert told["manifest"]["source"]["node"] == "cp2"
    assert not told["manifest"]["source"]["quorum"]
    assert not told["backup"]["quorum"]
    assert told["manifest"]["resources"]["(not of Kubernetes)"] >= PADDING
    assert done.returncode == 4
    padded.settle(90)
