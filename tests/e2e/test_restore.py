"""Restores in a lab: everything comes back, whatever cuts a restore off, and the way back is open until etcd starts."""

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cpkit.backup.keys import publics, read_identities
from cpkit.errors import Exit
from cpkit.facts.ground import Ground, survey
from cpkit.inventory import load
from tests.e2e.bulk import multiply
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import Cluster, await_that, bootstrap

LONGEST = 400.0
OBJECTS = 20_000
LOADED = "restored"  # the namespace that is backed up, and lost
SINCE = "written-since"  # the namespace that is made after the backup
LOCK = "/var/lib/cpkit/restore.lock"
PREPARE = "Make the new data beside the old"
QUIET = "Stop the controllers and the API servers and keep all services from starting"
SWITCH = "Stop etcd and put the new data in the place of the old"
START = "Start etcd on the new data, from where there is no way back"
SERVE = "Start the API servers"
FINISH = "Start the controllers and take the snapshot away"


@dataclass(frozen=True)
class Saved:
    """A cluster, a backup of it, and what was in it."""

    cluster: Cluster
    store: Path
    key: Path
    backup: str
    objects: dict[str, tuple[str, str]]  # kind/namespace/name -> UID, resourceVersion
    version: str  # a resourceVersion of before

    def words(self, *more: str) -> list[str]:
        given = ["--from", str(self.store), "--identity", str(self.key), "--confirm", self.cluster.lab.name]
        return ["restore", "etcd", "-i", self.cluster.lab.name, *given, "--backup", self.backup, *more]

    def restore(self, *more: str) -> subprocess.CompletedProcess[str]:
        return run_cpkit(*self.words(*more), timeout=LONGEST)

    def grounds(self) -> dict[str, Ground]:
        return survey(load(self.cluster.lab.inventory), ())

    def stages(self) -> set[str]:
        return {ground.marker.stage if ground.marker else "" for ground in self.grounds().values()}

    def abort(self) -> subprocess.CompletedProcess[str]:
        name = self.cluster.lab.name
        return run_cpkit("restore", "etcd", "-i", name, "--abort", "--confirm", name, timeout=LONGEST)

    @contextmanager
    def holding_back(self, node: str, stage: str, *, dead: bool) -> Iterator[None]:
        """Keep a node at a stage that it is about to come to; what would take it further waits, and dies if `dead`."""
        wait = f'until grep -q \'"stage": "{stage}"\' /var/lib/cpkit/restore.json; do sleep 0.02; done'
        script = f"{wait}; exec flock {LOCK} sleep infinity"
        self.cluster.on_each(f"systemd-run --quiet --collect --unit=held-back sh -c {shlex.quote(script)}", [node])
        try:
            yield
        finally:
            kill = (
                f"find /proc/[0-9]*/fd -lname {LOCK} | cut -d/ -f3 | sort -rnu | xargs -r kill -9" if dead else "true"
            )
            self.cluster.on_each(f"{kill}; systemctl stop held-back; true", [node])

    def running(self) -> dict[str, set[str]]:
        """The units of ours that run, on each node."""
        units = "etcd kube-apiserver kube-controller-manager kube-scheduler"
        line = f"for unit in {units}; do systemctl is-active --quiet $unit && echo $unit; done; true"
        return {name: set(told.split()) for name, told in self.cluster.on_each(line).items()}

    def namespaces(self) -> set[str]:
        return set(self.cluster.kubectl("get", "namespaces", "-o", "name").split())

    def spoil(self) -> None:
        """What happens between a backup and the wish for it."""
        self.cluster.kubectl("create", "namespace", f"{SINCE}-{time.time_ns()}")
        if f"namespace/{LOADED}" in self.namespaces():
            self.cluster.kubectl("delete", "namespace", LOADED, "--wait=false")

    def check_restored(self) -> None:
        """All that was saved is there, under its own UID, and nothing that was written since."""
        assert objects(self.cluster) == self.objects
        assert not [name for name in self.namespaces() if SINCE in name]
        assert self.cluster.settle().rc == 0


def objects(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """Every object of the namespace, whatever the controllers make of it since."""
    found = {}
    for kind in ("configmaps", "secrets", "serviceaccounts"):
        listed = json.loads(cluster.kubectl("get", "--raw", f"/api/v1/namespaces/{LOADED}/{kind}"))
        for each in (one["metadata"] for one in listed["items"]):
            found[f"{kind}/{each['name']}"] = each["uid"], each["resourceVersion"]
    return found


def fill(cluster: Cluster) -> None:
    """A namespace of ConfigMaps, and a Secret."""
    first, *others = (f"c{number:05}" for number in range(OBJECTS))
    cluster.kubectl("create", "namespace", LOADED)
    cluster.kubectl("create", "configmap", first, "-n", LOADED, f"--from-literal=n={first}")
    multiply(cluster, "configmaps", LOADED, first, others)
    cluster.kubectl("create", "secret", "generic", "hidden", "-n", LOADED, "--from-literal=word=never-to-be-seen-42")
    await_that(lambda: len(objects(cluster)) >= OBJECTS + 3, 60)


@pytest.fixture(scope="module")
def saved(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("restore")
    cluster = bootstrap(make_lab(nodes=3, balancers=1), folder)
    cluster.settle()
    fill(cluster)
    key, store = folder / "key", folder / "store"
    recipient = run_cpkit("backup", "key", str(key)).stdout.strip()
    store.mkdir()
    done = run_cpkit("backup", "etcd", "-i", cluster.lab.name, "--to", str(store), "--recipient", recipient)
    assert done.returncode == 0, done.stderr
    listed = json.loads(cluster.kubectl("get", "--raw", f"/api/v1/namespaces/{LOADED}/configmaps?limit=1"))
    backup = next(path.stem for path in store.glob("*.json"))
    version = listed["metadata"]["resourceVersion"]
    assert int(version) > 0
    return Saved(cluster, store, key, backup, objects(cluster), version)


@pytest.fixture(autouse=True)
def at_rest(saved: Saved) -> None:
    """No test begins with a restore that another one left under way."""
    if saved.stages() - {"", "done"}:
        assert saved.restore().returncode == 0 or saved.abort().returncode == 0


@dataclass
class Run:
    """A `cpkit restore etcd` under way, in a process group of its own as in a terminal."""

    saved: Saved
    process: subprocess.Popen[str]
    before: set[Path]

    def journal(self) -> list[dict[str, Any]]:
        new = runs(self.saved) - self.before
        path = next(iter(new)) / "run.jsonl" if new else None
        if path is None or not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def await_task(self, name: str, on: set[str]) -> None:
        """Until a task is done on these hosts."""

        def reached() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            told = self.journal()
            return on <= {each["host"] for each in told if each["event"] == "host" and each["task"] == name}

        await_that(reached, LONGEST, lambda: f"it never came to: {name}")

    def end(self, by: signal.Signals) -> str:
        """End it as a terminal or the kernel would, and wait until nothing of it is left here; what it printed."""
        assert self.process.poll() is None, self.process.communicate()
        if by == signal.SIGKILL:
            self.process.kill()
        else:
            os.killpg(self.process.pid, by)
        said = self.process.communicate(timeout=LONGEST)[0]
        assert self.process.returncode == (Exit.INTERRUPTED if by == signal.SIGINT else -by)
        with (self.saved.cluster.lab.kept / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
        return said


def runs(saved: Saved) -> set[Path]:
    return set(saved.cluster.lab.runs("restore"))


def restoring(saved: Saved) -> Run:
    before = runs(saved)
    command = [sys.executable, "-m", "cpkit", *saved.words()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0)
    return Run(saved, process, before)


def test_a_lost_namespace_comes_back_and_watchers_list_anew(saved: Saved) -> None:
    saved.spoil()
    await_that(lambda: len(objects(saved.cluster)) < OBJECTS, 60)
    starts = saved.cluster.unit_starts()
    looked = saved.restore("--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert "nothing was changed" in looked.stdout
    assert (saved.cluster.unit_starts(), saved.stages()) == (starts, {""})
    done = saved.restore()
    assert done.returncode == 0, done.stderr
    saved.check_restored()
    assert saved.cluster.kubectl("get", "secret", "hidden", "-n", LOADED, "-o", "jsonpath={.data.word}")
    path = f"/api/v1/namespaces/{LOADED}/configmaps?watch=true&resourceVersion={saved.version}&timeoutSeconds=5"
    code, out, error = saved.cluster.try_kubectl("get", "--raw", path)
    told = [json.loads(line) for line in out.splitlines()]
    assert [(each["type"], each["object"].get("code")) for each in told] == [("ERROR", 410)], (code, out, error)
    aside = saved.cluster.on_each("ls -d /var/lib/etcd.before-*/member && ls -A /var/lib/cpkit")
    assert all("member" in told and "restore.lock" in told for told in aside.values())
    traces = "ls /var/lib/cpkit/restore 2>/dev/null; find /etc/systemd/system -name cpkit-restore.conf; true"
    assert set(saved.cluster.on_each(traces).values()) == {""}


def test_the_key_and_the_secrets_are_nowhere_on_the_operators_disk(saved: Saved) -> None:
    secret = next(line for line in saved.key.read_text().splitlines() if line.startswith("AGE-SECRET-KEY"))
    for path in saved.cluster.lab.kept.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert secret.encode() not in data
            assert b"never-to-be-seen-42" not in data


def test_what_is_refused_touches_nothing(saved: Saved) -> None:
    starts, stages = saved.cluster.unit_starts(), saved.stages()
    name = saved.cluster.lab.name
    base = ["restore", "etcd", "-i", name, "--from", str(saved.store), "--backup", saved.backup]
    unasked = run_cpkit(*base, "--identity", str(saved.key))
    assert (unasked.returncode, f"--confirm {name}" in unasked.stderr) == (Exit.USAGE, True)
    wrong = run_cpkit(*base, "--identity", str(saved.key), "--confirm", "prod")
    assert (wrong.returncode, "--confirm says 'prod'" in wrong.stderr) == (Exit.USAGE, True)
    other = saved.key.with_name("other")
    if not other.exists():
        run_cpkit("backup", "key", str(other))
    keyless = run_cpkit(*base, "--identity", str(other), "--confirm", name)
    assert (keyless.returncode, "does not open" in keyless.stderr) == (Exit.REFUSED, True)
    saved.cluster.lab.do("pause", "cp3")
    try:
        silent = saved.restore()
        assert (silent.returncode, "cp3" in silent.stderr) == (Exit.UNKNOWN, True)
    finally:
        saved.cluster.lab.do("unpause", "cp3")
    await_that(lambda: not saved.grounds()["cp3"].error, 60)
    changed = "echo '# changed' >> /etc/kubernetes/encryption.yaml"
    saved.cluster.on_each(f"cp -a /etc/kubernetes/encryption.yaml /root/kept && {changed}", ["cp2"])
    try:
        odd = saved.restore()
        assert (odd.returncode, "cp2: /etc/kubernetes/encryption.yaml" in odd.stderr) == (Exit.REFUSED, True)
    finally:
        saved.cluster.on_each("mv /root/kept /etc/kubernetes/encryption.yaml", ["cp2"])
    assert saved.stages() == stages
    assert {name: told for name, told in saved.cluster.unit_starts().items() if name != "cp3"} == {
        name: told for name, told in starts.items() if name != "cp3"
    }
    saved.cluster.settle()


LATE = "cp2"


@dataclass(frozen=True)
class Cut:
    """Where a restore is cut off: two nodes are through a task, and the late one, at the stage before, is not."""

    task: str
    at: str

    def off(self, saved: Saved, *, by: signal.Signals = signal.SIGKILL, dead: bool = True) -> str:
        """Begin a restore, or go on with one, and cut it off here; what it printed.

        Unless it is `dead`, what was under way on the late node goes on there, as it does when a connection is cut.
        """
        with saved.holding_back(LATE, self.at, dead=dead):
            run = restoring(saved)
            run.await_task(self.task, on=set(saved.cluster.control_plane) - {LATE})
            return run.end(by)


HALF_PREPARED = Cut(PREPARE, "begun")
HALF_QUIET = Cut(QUIET, "prepared")
HALF_SWITCHED = Cut(SWITCH, "quiet")
HALF_STARTED = Cut(START, "switched")
HALF_SERVING = Cut(SERVE, "started")
HALF_DONE = Cut(FINISH, "serving")


@pytest.mark.parametrize("cut", [HALF_PREPARED, HALF_SWITCHED], ids=lambda cut: cut.at)
def test_the_way_back_leads_to_the_data_of_before(saved: Saved, cut: Cut) -> None:
    name = f"{SINCE}-{time.time_ns()}"
    saved.cluster.kubectl("create", "namespace", name)
    cut.off(saved, dead=False)
    back = saved.abort()
    assert back.returncode == 0, back.stderr
    assert f"namespace/{name}" in saved.namespaces()
    assert saved.cluster.settle().rc == 0
    left = saved.cluster.on_each("ls -d /var/lib/etcd.restore-* /var/lib/cpkit/restore.json 2>/dev/null; true")
    assert set(left.values()) == {""}
    saved.cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_the_same_command_goes_on_wherever_a_restore_was_cut_off(saved: Saved) -> None:
    saved.spoil()
    said = HALF_PREPARED.off(saved, by=signal.SIGINT)
    assert "Run the same command again" in said
    assert "--abort" in said
    HALF_QUIET.off(saved)
    HALF_SWITCHED.off(saved)
    bootstrapped = run_cpkit("bootstrap", "-i", saved.cluster.lab.name, "--yes", timeout=LONGEST)
    assert bootstrapped.returncode != 0
    assert "restore" in bootstrapped.stderr
    HALF_STARTED.off(saved)
    back = saved.abort()
    assert back.returncode == Exit.REFUSED
    assert "there is no way back" in back.stderr
    assert "/var/lib/etcd.before-" in back.stderr
    HALF_SERVING.off(saved)
    HALF_DONE.off(saved)
    done = saved.restore()
    assert done.returncode == 0, done.stderr
    saved.check_restored()
    assert saved.stages() == {"done"}


def test_a_node_that_loses_power_in_the_middle_does_not_start_on_old_data(saved: Saved) -> None:
    HALF_SWITCHED.off(saved)
    saved.cluster.lab.do("stop", LATE)
    silent = saved.restore()
    assert silent.returncode == Exit.UNKNOWN, silent.stderr
    assert LATE in silent.stderr
    saved.cluster.lab.do("start", LATE)
    await_that(lambda: not saved.grounds()[LATE].error, 60)
    booted = "systemctl is-system-running --wait; systemctl show --property AssertResult --value etcd"
    state, asserted = saved.cluster.on_each(booted, [LATE])[LATE].split()
    assert (state in {"running", "degraded"}, asserted) == (True, "no")
    assert saved.running()[LATE] == set()
    assert saved.stages() <= {"quiet", "stopped", "switched"}
    assert saved.restore().returncode == 0
    saved.check_restored()


def test_a_moment_between_two_writes_comes_back_by_a_stream(saved: Saved) -> None:
    cluster, name = saved.cluster, saved.cluster.lab.name
    recipient = read_identities(saved.key)
    words = ["backup", "stream", "-i", name, "--to", str(saved.store), "--recipient", publics(recipient)[0]]
    command = [sys.executable, "-m", "cpkit", *words, "-o", "json"]

    def follow() -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def stored(run: subprocess.Popen[str], revision: int) -> dict[str, Any]:
        """The first word of the stream by which a revision is in the store."""
        assert run.stdout
        for line in run.stdout:
            told: dict[str, Any] = json.loads(line)
            if told["event"] == "stream" and told["stored"] >= revision:
                return told
        raise AssertionError(run.communicate()[1])

    def written(thing: str) -> int:
        return int(cluster.kubectl("create", "configmap", thing, "-o", "jsonpath={.metadata.resourceVersion}"))

    run = follow()
    node = stored(run, 1)["node"]
    wanted = written("wanted")
    cluster.kubectl("delete", "configmap", "wanted")
    stored(run, written("unwanted"))
    cluster.on_each("systemctl kill --signal=KILL etcd", [node])
    stored(run, written("since-a-member-was-killed"))
    run.kill()
    run.communicate()
    last = written("while-nobody-followed")
    run = follow()
    stored(run, last)
    run.send_signal(signal.SIGINT)
    assert (run.wait(60), run.communicate()[1]) == (Exit.INTERRUPTED, "")
    cluster.settle()
    given = ["--from", str(saved.store), "--identity", str(saved.key), "--confirm", name, "--to-revision", str(wanted)]
    restore = [sys.executable, "-m", "cpkit", "restore", "etcd", "-i", name, *given, "--no-backup"]
    before = runs(saved)
    cut = Run(saved, subprocess.Popen(restore, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True), before)
    cut.await_task(PREPARE, set(cluster.control_plane))
    cut.end(signal.SIGKILL)
    done = run_cpkit(*restore[3:], timeout=LONGEST)
    assert done.returncode == 0, done.stderr
    held = set(cluster.kubectl("get", "configmaps", "-o", "name").split())
    assert held == {"configmap/kube-root-ca.crt", "configmap/wanted"}
    assert cluster.settle().rc == 0
