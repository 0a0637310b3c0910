"""Every store does the same: a directory, a real SFTP server, a real S3 server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pyrage
import pytest

from cpkit.backup import DamagedBackup, Identities, Recipients, Store, StoreError, catalogue, open_bundle, open_store
from cpkit.backup.manifest import Verification
from cpkit.backup.retention import Policy
from cpkit.backup.stores.directory import Directory
from cpkit.errors import CpkitError, UsageError
from cpkit.etcd import MemberClient
from cpkit.operations import backups
from cpkit.ssh import HostKeyUnknown
from tests.contract.backups import CREATED, take
from tests.contract.s3_server import S3Server, s3_server
from tests.contract.sshd import Sshd

IDENTITY = pyrage.x25519.Identity.generate()
SEALING, OPENING = Recipients((str(IDENTITY.to_public()),)), Identities(str(IDENTITY), "backup.key")
KINDS = ("directory", "sftp", "s3")


@pytest.fixture(scope="module")
def client(client: MemberClient) -> MemberClient:
    for number in range(40):  # more than one part of an upload to S3
        client.etcd3.put(f"/registry/secrets/default/{number}", os.urandom(300_000))
    return client


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@dataclass(frozen=True)
class Place:
    """A store of a kind, and where its files really lie."""

    kind: str
    location: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_file()) if self.folder.exists() else []


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "directory":
        return Place("directory", str(tmp_path / "store"), tmp_path / "store")
    if request.param == "sftp":
        server: Sshd = request.getfixturevalue("server")
        monkeypatch.setenv("HOME", str(server.root / "home"))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        folder = tmp_path / "below" / "store"
        return Place("sftp", f"sftp://127.0.0.1:{server.port}{folder}", folder, {"HOME": str(server.root / "home")})
    bucket: S3Server = request.getfixturevalue("bucket")
    for name, value in bucket.environment().items():
        monkeypatch.setenv(name, value)
    return Place("s3", bucket.location(tmp_path.name), bucket.root / "backups" / tmp_path.name, bucket.environment())


def names(store: Store) -> list[str]:
    return [each.name for each in catalogue.read(store, "prod").backups]


def test_a_backup_goes_in_and_comes_out(client: MemberClient, place: Place) -> None:
    with open_store(place.location) as store:
        assert catalogue.read(store, "prod") == catalogue.Catalogue(())
        older = take(client, store, SEALING, age=timedelta(days=2))
        newer = take(client, store, SEALING)
        assert place.files() == sorted(f"{each.name}{end}" for each in (older, newer) for end in (".cpkit", ".json"))
        assert names(store) == [newer.name, older.name]
        bundle = open_bundle(store, "latest", OPENING)
        assert bundle.sidecar == newer
        assert sum(map(len, bundle.stream())) == bundle.manifest.part("snapshot.db").size > 12_000_000
        verification = Verification(CREATED, "read", "a test")
        assert catalogue.record(store, newer, verification).verified[-1] == verification
        assert catalogue.find(store, newer.name).verified[-1] == verification
        catalogue.remove(store, [older])
        catalogue.remove(store, [older])  # a second time does no harm
        assert names(store) == [newer.name]
        assert len(place.files()) == 2


def torn(store: Store) -> None:
    with store.upload(30 << 20) as upload:
        upload.write(bytes(20 << 20))
        raise ZeroDivisionError


def test_what_breaks_off_is_not_listed(client: MemberClient, place: Place) -> None:
    with open_store(place.location) as store:
        with pytest.raises(ZeroDivisionError):
            torn(store)
        assert place.files() == []
        assert catalogue.read(store) == catalogue.Catalogue(())


def test_a_name_is_never_given_twice(client: MemberClient, place: Place) -> None:
    with open_store(place.location) as store:
        sidecar = take(client, store, SEALING)
        with pytest.raises(StoreError, match="is there already"):
            take(client, store, SEALING)
        assert open_bundle(store, sidecar.name, OPENING).manifest.keys == 40
        assert len(place.files()) == 2


KILLED = """
import os, sys
from cpkit.backup import open_store
with open_store(sys.argv[1]) as store, store.upload(40 << 20) as upload:
    for _ in range(30):
        upload.write(os.urandom(1 << 20))
    print("half", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_upload_leaves_is_named_and_cleaned_when_it_is_old(client: MemberClient, place: Place) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, place.location],
        env=os.environ | place.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.kill()
    process.wait(10)
    with open_store(place.location) as store:
        sidecar = take(client, store, SEALING)
        found = catalogue.read(store, "prod")
        assert [each.name for each in found.backups] == [sidecar.name]
        assert [item.name.startswith(".partial-") for item in found.leftovers] == [True]
        now = catalogue.now()
        young = backups.plan(store, "prod", Policy(last=1), now)
        assert (young.leftovers, young.young) == ((), found.leftovers)
        old = backups.plan(store, "prod", Policy(last=1), now + timedelta(hours=25))
        assert old.leftovers == found.leftovers
        backups.prune(store, old, lambda _: None)
        assert catalogue.read(store, "prod").leftovers == ()
        assert names(store) == [sidecar.name]


def test_pruning_keeps_what_the_rules_say(client: MemberClient, place: Place) -> None:
    with open_store(place.location) as store:
        made = [take(client, store, SEALING, age=timedelta(days=day)) for day in (5, 4, 0)]
        catalogue.record(store, made[1], Verification(CREATED, "read", "a test"))
        backups.prune(store, backups.plan(store, "prod", Policy(last=1), catalogue.now()), lambda _: None)
        assert names(store) == [made[2].name]


@pytest.mark.parametrize("kind", ["cut", "longer", "gone"])
def test_an_object_that_is_not_what_its_sidecar_says_is_named(client: MemberClient, place: Place, kind: str) -> None:
    with open_store(place.location) as store:
        sidecar = take(client, store, SEALING)
        path = place.folder / sidecar.object
        if kind == "gone":
            store.delete(sidecar.object)
        else:
            path.write_bytes(path.read_bytes()[:-1] if kind == "cut" else path.read_bytes() + b"x")
        found = catalogue.read(store, "prod")
        assert found.backups == ()
        assert len(found.broken) == 1
        with pytest.raises((DamagedBackup, StoreError)):
            open_bundle(store, sidecar.name, OPENING)


def test_an_sftp_server_whose_key_is_not_pinned_is_refused(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(HostKeyUnknown), open_store(f"sftp://127.0.0.1:{server.port}/srv"):
        pass


def cut(server: Sshd, location: str) -> None:
    with open_store(location) as store, store.upload(1 << 30) as upload:
        upload.write(bytes(1 << 20))
        for pid in server.sessions():
            os.kill(pid, signal.SIGKILL)
        for _ in range(2000):
            upload.write(bytes(1 << 16))


def test_an_sftp_server_that_goes_away_while_it_is_written_to_is_told(
    client: MemberClient, server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(server.root / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(CpkitError, match="broke"):
        cut(server, f"sftp://127.0.0.1:{server.port}{tmp_path}/store")
    assert not [path for path in (tmp_path / "store").iterdir() if not path.name.startswith(".partial-")]


def test_s3_says_what_is_wrong_with_credentials_and_buckets(
    bucket: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.environment().items():
        monkeypatch.setenv(name, value)
    with open_store(bucket.location("x", "nowhere")) as store, pytest.raises(StoreError, match="NoSuchBucket"):
        store.list()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with open_store(bucket.location("x")) as store, pytest.raises(StoreError, match="SignatureDoesNotMatch"):
        store.list()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with open_store(bucket.location("x")) as store, pytest.raises(StoreError, match="no credentials") as caught:
        store.list()
    assert bucket.secret not in str(caught.value)


def test_locations_that_are_none_are_refused() -> None:
    for location in ("sftp://host", "s3:///x", "ftp://host/x", "relative/path", "sftp://u:secret@host/x"):
        with pytest.raises(UsageError) as caught, open_store(location):
            pass
        assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="means nothing"), open_store("s3://bucket/x?endpiont=x"):
        pass


def test_a_directory_is_its_owners_alone(client: MemberClient, tmp_path: Path) -> None:
    with open_store(f"file://{tmp_path}/new/store") as store:
        take(client, store, SEALING)
        assert isinstance(store, Directory)
    assert (tmp_path / "new" / "store").stat().st_mode & 0o777 == 0o700


def test_a_full_disk_is_told_and_leaves_nothing_behind(client: MemberClient, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", small], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        with open_store(str(small)) as store:
            with pytest.raises(StoreError, match="MB left"), store.upload(9 << 20):
                pass
            with pytest.raises(StoreError, match="is full"), store.upload(1 << 20) as upload:
                upload.write(bytes(9 << 20))
            assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)
