"""Drills with a real etcd and a real API server: what they prove, what they refuse, and that nothing is left."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cpkit.backup import Recipients, catalogue, open_store
from cpkit.backup.keys import make_identity
from cpkit.backup.manifest import Manifest
from cpkit.pki.authorities import create
from tests.contract import kubernetes
from tests.contract.backups import take

LONGEST = 120.0


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A directory of our own in memory."""
    with tempfile.TemporaryDirectory(prefix="cpkit-test-", dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def origin(memory: Path) -> Iterator[kubernetes.Cluster]:
    """A cluster with something in it."""
    with kubernetes.cluster(memory) as cluster:
        cluster.kubectl("create", "namespace", "shop")
        cluster.kubectl("create", "secret", "generic", "db", "--namespace=shop", "--from-literal=password=hunter2")
        cluster.kubectl("create", "configmap", "web", "--namespace=shop", "--from-literal=a=yes")
        yield cluster


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("key") / "backup.key"
    return path, make_identity(path)


class Drills:
    """A store, and drills of what is in it."""

    def __init__(self, origin: kubernetes.Cluster, store: Path, memory: Path, key: tuple[Path, str]) -> None:
        self.origin, self.store, self.memory, self.key = origin, store, memory, key

    def take(
        self, *, parts: dict[str, bytes] | None = None, change: Callable[[Manifest], Manifest] = lambda told: told
    ) -> str:
        sealing = Recipients((self.key[1],))
        with open_store(str(self.store)) as store:
            client, parts = self.origin.member.client, self.origin.parts | (parts or {})
            parts = {name: data for name, data in parts.items() if data}
            return take(client, store, sealing, parts=parts, change=change).name

    def words(self, *more: str) -> list[str]:
        there = ["--store", str(self.store), "--identity", str(self.key[0]), "--scratch", str(self.memory)]
        return [sys.executable, "-m", "cpkit", "backup", "verify", "latest", "--drill", *there, *more]

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(*more), capture_output=True, text=True, timeout=LONGEST, check=False)

    def sandboxes(self) -> list[Path]:
        """The directories of drills that run, or were killed; not that of the origin, which is like one."""
        return [path for path in self.memory.glob("cpkit-sandbox-*") if path.name not in self.kept]

    @property
    def kept(self) -> set[str]:
        return {Path(f"/proc/{pid}/cwd").readlink().name for pid in children(os.getpid())}


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def working_in(folder: Path) -> list[str]:
    """The processes whose directory it is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.fixture
def drills(origin: kubernetes.Cluster, memory: Path, tmp_path: Path, key: tuple[Path, str]) -> Drills:
    return Drills(origin, tmp_path / "store", memory, key)


def test_what_is_brought_back_is_what_the_cluster_had_and_that_is_noted(drills: Drills) -> None:
    name = drills.take()
    done = drills.run("-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)[0]
    with open_store(str(drills.store)) as store:
        noted = catalogue.find(store, name).verified
    receipt = next(each for each in noted if each.proof == "drill").receipt
    assert receipt is not None
    assert told["receipt"]["hash"] == receipt.hash == drills.origin.member.client.hash_kv(receipt.revision).hash
    assert receipt.secrets == 1
    assert 0 < receipt.seconds < LONGEST
    assert not drills.sandboxes()
    shown = subprocess.run(
        [sys.executable, "-m", "cpkit", "backup", "show", "latest", "--store", str(drills.store)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"restored in {receipt.seconds:.1f} s" in shown


def test_a_compaction_between_snapshot_and_hash_does_not_matter(drills: Drills) -> None:
    client = drills.origin.member.client
    for _ in range(3):
        client.etcd3.put("/elsewhere", os.urandom(50))
    at = client.probe()
    client.etcd3.put("/elsewhere", os.urandom(50))

    def compacted_meanwhile(manifest: Manifest) -> Manifest:
        client.compact(at, physical=True)
        said = client.hash_kv(manifest.revision)
        assert said.compact_revision > manifest.compacted
        hashes = (replace(manifest.hashes[0], hash=said.hash, compacted=said.compact_revision),)
        return replace(manifest, hashes=hashes)

    drills.take(change=compacted_meanwhile)
    client.etcd3.delete("/elsewhere")
    done = drills.run()
    assert done.returncode == 0, done.stdout + done.stderr


def other_hash(manifest: Manifest) -> Manifest:
    return replace(manifest, hashes=(replace(manifest.hashes[0], hash=manifest.hashes[0].hash ^ 1),))


def other_count(manifest: Manifest) -> Manifest:
    assert manifest.resources is not None
    return replace(manifest, resources=manifest.resources | {"secrets": 7})


@pytest.mark.parametrize(
    ("parts", "change", "reason"),
    [
        ({}, other_hash, "other keys than those of cp1: HashKV"),
        ({}, other_count, "secrets 1 of 7"),
        ({"encryption.yaml": b""}, None, "lacks encryption.yaml"),
        ({"encryption.yaml": create(key_type="ecdsa-p256", ca_days=1).encryption.encode()}, None, "secrets"),
        ({"encryption.yaml": b"a: b\n"}, None, "no EncryptionConfiguration"),
        ({"pki/ca.key": create(key_type="ecdsa-p256", ca_days=1).cluster.key_pem.encode()}, None, "does not belong"),
    ],
    ids=["hash", "count", "no-keys", "other-keys", "damaged-keys", "other-ca"],
)
def test_what_is_not_what_it_says_fails_with_the_reason(
    drills: Drills, parts: dict[str, bytes], change: Callable[[Manifest], Manifest] | None, reason: str
) -> None:
    name = drills.take(parts=parts, change=change or (lambda told: told))
    done = drills.run()
    assert done.returncode == 3, done.stdout + done.stderr
    assert reason in done.stdout
    assert "Traceback" not in done.stderr
    with open_store(str(drills.store)) as store:
        assert "drill" not in [each.proof for each in catalogue.find(store, name).verified]
    assert not drills.sandboxes()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_drill_that_is_cut_off_leaves_nothing_running(drills: Drills, how: signal.Signals) -> None:
    drills.take()
    with subprocess.Popen(drills.words(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + LONGEST
        while not any((path / "kube-apiserver.log").exists() for path in drills.sandboxes()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        folder = drills.sandboxes()[0]
        assert len(working_in(folder)) == 2
        assert folder.stat().st_mode & 0o777 == 0o700
        process.send_signal(how)
        _, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    while working_in(folder):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if how == signal.SIGINT:
        assert process.returncode == 130, err
        assert not folder.exists()
        return
    assert folder.exists()
    assert drills.run().returncode == 0
    assert not folder.exists()


def test_no_key_lies_in_the_directory_of_a_drill_that_was_killed(drills: Drills) -> None:
    drills.take()
    with subprocess.Popen(drills.words(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + LONGEST
        while not any((path / "kube-apiserver.log").exists() for path in drills.sandboxes()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    secret = drills.origin.authorities.encryption.split("secret: ")[1].split()[0].encode()
    files = [path for folder in drills.sandboxes() for path in folder.rglob("*") if path.is_file()]
    assert files
    held = [path.read_bytes() for path in files]
    assert not any(secret in data or b"PRIVATE KEY" in data or b"hunter2" in data for data in held)


def test_a_backup_that_cannot_be_opened_starts_nothing(drills: Drills, tmp_path: Path) -> None:
    drills.take()
    make_identity(tmp_path / "other.key")
    other = [word if word != str(drills.key[0]) else str(tmp_path / "other.key") for word in drills.words()]
    wrong = subprocess.run(other, capture_output=True, text=True, timeout=LONGEST, check=False)
    path = next(drills.store.glob("*.cpkit"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for done, reason in ((wrong, "the identity does not open"), (drills.run(), "is damaged")):
        assert done.returncode == 3, done.stderr
        assert reason in done.stdout
        assert "start etcd" not in done.stderr


def test_binaries_that_are_missing_are_named(drills: Drills, tmp_path: Path) -> None:
    drills.take()
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(drills.words(), capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 3
    assert "cpkit artifacts fetch --version 1.36.3 --etcd-version" in done.stdout
    assert "Prove" not in done.stderr


def test_a_disk_is_refused_before_anything_is_read(drills: Drills, tmp_path: Path) -> None:
    drills.take()
    on_disk = [word if word != str(drills.memory) else str(tmp_path) for word in drills.words()]
    done = subprocess.run(on_disk, capture_output=True, text=True, timeout=LONGEST, check=False)
    assert done.returncode == 3
    assert "is on a disk" in done.stdout
    assert "Prove" not in done.stderr
