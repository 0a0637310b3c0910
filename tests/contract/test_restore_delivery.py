"""A snapshot on its way from a store to a node: the key's descriptor, the receiver, and what is refused."""

import hashlib
import json
import os
import runpy
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cpkit.backup import (
    SNAPSHOT,
    DamagedBackup,
    Identities,
    Opening,
    Part,
    Passphrase,
    Sidecar,
    WrongKey,
    open_bundle,
    open_store,
)
from cpkit.backup.bundle import stream_part
from cpkit.backup.handing import handed_key, received_key
from cpkit.backup.keys import make_identity, read_identities, recipients
from cpkit.errors import CpkitError
from tests.contract.backups import take
from tests.contract.etcd_members import etcd_binary, loopback, wait_for_quorum

PLUGIN = Path(__file__).parents[2] / "playbooks" / "plugins" / "action" / "cpkit_snapshot.py"
RECEIVE = runpy.run_path(str(PLUGIN))["RECEIVE"]


def snapshot(size: int = 100_000) -> bytes:
    body = os.urandom(size)
    return body + hashlib.sha256(body).digest()


def receive(folder: Path, data: bytes, sent: bytes | None = None, word: str = "receive") -> Any:
    """Run the receiver as a node would; None when it refuses."""
    sha256 = hashlib.sha256(data).hexdigest()
    command = [sys.executable, "-IS", "-c", RECEIVE, str(folder), sha256, str(len(data)), word]
    done = subprocess.run(command, input=data if sent is None else sent, capture_output=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.decode().strip().splitlines()[-1]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_snapshot_arrives_for_root_alone(tmp_path: Path) -> None:
    data, folder = snapshot(), tmp_path / "restore"
    assert receive(folder, data, word="look") == {"there": False}
    assert not folder.exists()
    assert receive(folder, data) == {"there": True}
    path = folder / f"{hashlib.sha256(data).hexdigest()}.db"
    assert path.read_bytes() == data
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)
    assert receive(folder, data, word="look") == {"there": True}


def test_one_that_was_changed_since_is_not_taken_for_right(tmp_path: Path) -> None:
    data = snapshot()
    receive(tmp_path, data)
    path = next(tmp_path.iterdir())
    path.write_bytes(data[:500] + b"!" + data[501:])
    assert receive(tmp_path, data, word="look") == {"there": False}
    assert receive(tmp_path, data) == {"there": True}
    assert path.read_bytes() == data


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    data = snapshot()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(data)
    folder = tmp_path / "restore"
    folder.mkdir()
    path = folder / f"{hashlib.sha256(data).hexdigest()}.db"
    path.symlink_to(elsewhere)
    assert receive(folder, data, word="look") == {"there": False}
    receive(folder, data)
    assert not path.is_symlink()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda data: data[:-1], "100031 of 100032 bytes"),
        (lambda _: b"", "0 of 100032 bytes"),
        (lambda data: data + b"x", "100033 of 100032 bytes"),
        (lambda data: data[:5] + b"!!" + data[7:], "with another SHA-256"),
    ],
    ids=["cut", "empty", "longer", "flipped"],
)
def test_what_is_not_right_leaves_nothing(tmp_path: Path, spoil: Any, told: str) -> None:
    data = snapshot()
    assert told in receive(tmp_path, data, spoil(data))
    assert files(tmp_path) == []


def test_a_snapshot_without_etcds_own_trailer_is_refused_though_its_digest_is_right(tmp_path: Path) -> None:
    data = os.urandom(5000)
    assert "with another SHA-256" in receive(tmp_path, data)
    assert files(tmp_path) == []


def test_what_earlier_runs_left_behind_goes(tmp_path: Path) -> None:
    data = snapshot()
    for name in ("other.db", ".part-killed"):
        (tmp_path / name).write_bytes(b"secret")
    receive(tmp_path, data)
    assert files(tmp_path) == [f"{hashlib.sha256(data).hexdigest()}.db"]


@pytest.mark.parametrize("key", [Passphrase("correct horse"), Identities("AGE-SECRET-KEY-1\n", "key"), None])
def test_a_key_is_handed_to_many_processes_and_is_in_no_file(key: Opening) -> None:
    script = "import sys; from cpkit.backup.handing import received_key; print(repr(received_key(int(sys.argv[1]))))"
    with handed_key(key) as descriptor:
        assert str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("/memfd:")
        for _ in range(2):
            assert received_key(descriptor) == key
        command = [sys.executable, "-c", script, str(descriptor)]
        other = subprocess.run(command, pass_fds=(descriptor,), capture_output=True, text=True, check=True)
        assert other.stdout.startswith("None" if key is None else type(key).__name__)
        assert "horse" not in other.stdout
        assert "SECRET" not in other.stdout
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_descriptor_that_leads_to_no_key_is_named() -> None:
    with Path(os.devnull).open() as nothing, pytest.raises(CpkitError, match="holds no key of a backup"):
        received_key(nothing.fileno())
    with pytest.raises(CpkitError, match="descriptor -1 holds no key"):
        received_key(-1)


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, Sidecar]]:
    """A store with a backup, and the file of its key."""
    root = tmp_path_factory.mktemp("delivery")
    recipient = make_identity(root / "key")
    (root / "store").mkdir()
    with loopback(etcd_binary(), root) as place, open_store(str(root / "store")) as store:
        place.announce("cp1")
        member = place.start("cp1")
        wait_for_quorum(member)
        with member.client() as client:
            for number in range(50):
                client.etcd3.put(f"/registry/configmaps/{number}", os.urandom(2000))
            yield root / "store", root / "key", take(client, store, recipients([recipient]))


def test_what_a_node_receives_is_the_snapshot(tmp_path: Path, backup: tuple[Path, Path, Sidecar]) -> None:
    place, key, sidecar = backup
    with open_store(str(place)) as store:
        bundle = open_bundle(store, sidecar.name, read_identities(key))
        data = b"".join(stream_part(store, sidecar, read_identities(key), bundle.manifest.part(SNAPSHOT)))
    assert receive(tmp_path, data) == {"there": True}
    assert data[-32:] == hashlib.sha256(data[:-32]).digest()


def test_an_archive_that_changed_since_it_was_verified_ends_in_an_error(backup: tuple[Path, Path, Sidecar]) -> None:
    place, key, sidecar = backup
    with open_store(str(place)) as store:
        part = open_bundle(store, sidecar.name, read_identities(key)).manifest.part(SNAPSHOT)
        with pytest.raises(DamagedBackup, match="has changed"):
            list(stream_part(store, sidecar, read_identities(key), Part(SNAPSHOT, part.size, "0" * 64)))
        other = Identities(key.read_text(), "key")
        path = place / sidecar.object
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        try:
            with pytest.raises(DamagedBackup):
                list(stream_part(store, sidecar, other, part))
        finally:
            path.write_bytes(whole)
        stranger = make_identity(key.with_name("stranger"))
        assert stranger
        with pytest.raises(WrongKey):
            list(stream_part(store, sidecar, read_identities(key.with_name("stranger")), part))
