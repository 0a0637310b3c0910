"""Backups of a real etcd: what they hold, and that a stream that breaks leaves nothing behind."""

import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pyrage
import pytest

from cpkit.backup import (
    SNAPSHOT,
    DamagedBackup,
    Identities,
    NoSuchBackup,
    Opening,
    Passphrase,
    Recipients,
    Sealing,
    catalogue,
    open_bundle,
    open_store,
    scrypt,
    x25519,
)
from cpkit.backup.bolt import Follower
from cpkit.backup.database import Database, judge
from cpkit.backup.sealing import seal
from cpkit.backup.streams import Counted, Pulled
from cpkit.errors import CpkitError
from cpkit.etcd import EtcdTimeout, EtcdUnavailable, MemberClient
from tests.contract.backups import PARTS, take
from tests.contract.etcd_members import EtcdMember, etcd_binary, loopback, wait_for_quorum

IDENTITY = pyrage.x25519.Identity.generate()
SEALED = Recipients((str(IDENTITY.to_public()),))
OPENING = Identities(f"# a comment\n{IDENTITY}\n", "backup.key")
KINDS: dict[str, tuple[Sealing, Opening]] = {
    "recipients": (SEALED, OPENING),
    "passphrase": (Passphrase("correct horse"), Passphrase("correct horse")),
    "none": (None, None),
}
BIG = (1, 3_000, 5_000, 70_000, 1_200_000)


def fill(client: MemberClient, count: int, *, prefix: str = "/registry/pods/default/pod") -> None:
    etcd = client.etcd3
    for begin in range(0, count, 100):
        names = [f"{prefix}-{number:05}" for number in range(begin, min(begin + 100, count))]
        etcd.transaction([], [etcd.transactions.put(name, name * 10) for name in names], [])


@pytest.fixture(scope="module")
def client(client: MemberClient) -> MemberClient:
    fill(client, 3000)
    for number, size in enumerate(BIG):  # values that need pages of their own
        client.etcd3.put(f"/registry/example.org/widgets/default/{number}", "x" * size)
    client.etcd3.put("/registry/services/specs/default/kubernetes", "one")
    client.etcd3.put("/registry/services/endpoints/default/kubernetes", "two")
    client.etcd3.put("/registry/health", "three")
    client.etcd3.put("elsewhere", "four")
    return client


def database_of(client: MemberClient) -> tuple[bytes, Database]:
    """A snapshot, and what we read from its pages, cut in odd pieces."""
    data, follower = b"".join(client.snapshot(timeout=20)), Follower()
    for begin in range(0, len(data) - 32, 7001):
        follower.feed(data[begin : min(begin + 7001, len(data) - 32)])
    return data, judge(follower)


def compact(client: MemberClient) -> None:
    client.compact(client.status().revision, physical=True)


def told_by_etcdutl(data: bytes, folder: Path) -> tuple[int, int, str]:
    path = folder / "snapshot.db"
    path.write_bytes(data)
    argv = [str(etcd_binary().with_name("etcdutl")), "snapshot", "status", str(path), "--write-out=json"]
    told = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return told["revision"], told["totalKey"], told["version"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_taken_is_listed_and_proven(client: MemberClient, tmp_path: Path, kind: str) -> None:
    sealing, opening = KINDS[kind]
    with open_store(str(tmp_path / "store")) as store:
        sidecar = take(client, store, sealing)
        assert [each.name for each in catalogue.read(store, "prod").backups] == [sidecar.name]
        assert catalogue.read(store, "other").backups == ()
        assert sidecar.encryption == kind
        bundle = open_bundle(store, "latest", opening)
        snapshot = b"".join(bundle.stream())
    assert bundle.names == tuple(PARTS)
    assert {name: bundle.read(name) for name in bundle.names} == PARTS
    assert bundle.manifest.resources == {
        "example.org/widgets": len(BIG),
        "health": 1,
        "pods": 3000,
        "services/endpoints": 1,
        "services/specs": 1,
        "(not of Kubernetes)": 1,
    }
    assert bundle.manifest.keys == 3009
    found = bundle.database
    assert (found.revision, found.key_revisions, found.storage_version) == told_by_etcdutl(snapshot, tmp_path)
    assert found.revision == client.status().revision == sidecar.revision
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "store").iterdir()] == [0o600, 0o600]


def test_the_database_is_read_as_etcd_reads_it_through_compaction_and_deletion(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with loopback(etcd_binary(), tmp_path_factory.mktemp("etcd")) as place:
        place.announce("cp1")
        member = place.start("cp1")
        wait_for_quorum(member)
        with member.client(timeout=20) as client:
            steps: tuple[tuple[Callable[[], object], int], ...] = (
                (lambda: None, 0),
                (lambda: client.etcd3.put("a", "1"), 1),
                (lambda: fill(client, 700), 701),
                (lambda: client.etcd3.delete_prefix("/registry/"), 1401),
                (lambda: compact(client), 701),  # etcd keeps the deletions of the very revision
                (lambda: client.etcd3.delete("a"), 702),
                (lambda: compact(client), 1),
                (lambda: client.defragment(timeout=20), 1),
            )
            for action, keys in steps:
                action()
                data, found = database_of(client)
                revision, _, version = told_by_etcdutl(data, tmp_path)
                assert found.key_revisions == keys
                assert found.storage_version == version
                assert found.revision == max(revision, client.status().revision)


def test_etcd_restores_what_was_stored(client: MemberClient, tmp_path: Path) -> None:
    with open_store(str(tmp_path / "store")) as store:
        take(client, store, SEALED)
        (tmp_path / "back.db").write_bytes(b"".join(open_bundle(store, "latest", OPENING).stream(SNAPSHOT)))
    argv = [str(etcd_binary().with_name("etcdutl")), "snapshot", "restore", str(tmp_path / "back.db"), "--data-dir"]
    subprocess.run([*argv, str(tmp_path / "data")], check=True, capture_output=True)
    assert (tmp_path / "data" / "member" / "snap" / "db").stat().st_size > 2_000_000


def by_identity(data: bytes) -> bytes:
    return pyrage.decrypt(data, [IDENTITY])


def by_passphrase(data: bytes) -> bytes:
    return pyrage.passphrase.decrypt(data, "correct horse")


def test_age_and_tar_alone_open_it(client: MemberClient, tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        ways: dict[str, Callable[[bytes], bytes]] = {
            "recipients": by_identity,
            "passphrase": by_passphrase,
            "none": bytes,
        }
        for kind, plain in ways.items():
            sidecar = take(client, store, KINDS[kind][0], cluster=kind)
            path = tmp_path / f"{kind}.tar"
            path.write_bytes(plain((tmp_path / sidecar.object).read_bytes()))
            listed = subprocess.run(["tar", "--list", "--file", path], check=True, capture_output=True, text=True)
            assert listed.stdout.split() == [*PARTS, "snapshot.db", "manifest.json"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a passphrase hard to guess takes a second each time."""
    monkeypatch.setattr(scrypt, "WORK", 12)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 131072])
def test_what_is_sealed_with_a_passphrase_is_opened_by_age(size: int) -> None:
    plain, sealed, opened = b"x" * size, io.BytesIO(), io.BytesIO()
    scrypt.encrypt(io.BytesIO(plain), sealed, "ﬁne words")
    assert pyrage.passphrase.decrypt(sealed.getvalue(), "fine words") == plain  # both forms of the letters are one
    scrypt.decrypt(io.BytesIO(sealed.getvalue()), opened, "fine words")
    assert opened.getvalue() == plain


def test_what_age_seals_with_a_passphrase_is_opened() -> None:
    opened = io.BytesIO()
    scrypt.decrypt(io.BytesIO(pyrage.passphrase.encrypt(b"x" * 100_000, "fine words")), opened, "fine words")
    assert opened.getvalue() == b"x" * 100_000


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 131072, (1 << 20) - 1, 1 << 20, (1 << 20) + 65537])
def test_what_is_sealed_for_recipients_is_opened_by_each_of_them_and_by_nobody_else(size: int) -> None:
    plain, sealed = os.urandom(size), io.BytesIO()
    one, two, other = (pyrage.x25519.Identity.generate() for _ in range(3))
    x25519.encrypt(io.BytesIO(plain), sealed, [str(one.to_public()), str(two.to_public())])
    assert pyrage.decrypt(sealed.getvalue(), [one]) == pyrage.decrypt(sealed.getvalue(), [two]) == plain
    with pytest.raises(pyrage.DecryptError, match="No matching keys"):
        pyrage.decrypt(sealed.getvalue(), [other])
    if size:
        with pytest.raises(pyrage.DecryptError):
            pyrage.decrypt(sealed.getvalue()[:-1], [one])


@pytest.mark.parametrize("pieces", [1, 1000, 65536, 1 << 20], ids=str)
def test_how_a_stream_is_cut_into_pieces_changes_nothing(pieces: int) -> None:
    plain, sealed, one = os.urandom(200_001), io.BytesIO(), pyrage.x25519.Identity.generate()
    source = Pulled(plain[at : at + pieces] for at in range(0, len(plain), pieces))
    x25519.encrypt(source, sealed, [str(one.to_public())])
    assert pyrage.decrypt(sealed.getvalue(), [one]) == plain


class Full:
    """A target that takes nothing."""

    def __init__(self, trouble: BaseException) -> None:
        self._trouble = trouble

    def write(self, _data: bytes) -> None:
        raise self._trouble


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("size", [100, 3 << 20])  # of the one, the only write is the last
def test_what_goes_wrong_at_an_end_is_told_as_it_was(trouble: BaseException, size: int) -> None:
    target = Counted(target=Full(trouble), advance=lambda _size: None, block=1)
    with pytest.raises(type(trouble)):
        seal(Pulled([b"x" * size]), target, SEALED)


@pytest.mark.parametrize("size", [100, 3 << 20])
def test_ctrl_c_stays_ctrl_c_where_it_strikes_between_two_lines(size: int) -> None:
    def struck(_size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seal(Pulled([b"x" * size]), Counted(target=io.BytesIO(), advance=struck, block=1), SEALED)


def test_an_ssh_key_opens_too(client: MemberClient, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    with open_store(str(tmp_path / "store")) as store:
        take(client, store, Recipients(((tmp_path / "key.pub").read_text().strip(), *SEALED.keys)))
        for opening in (Identities((tmp_path / "key").read_text(), "key"), OPENING):
            assert open_bundle(store, "latest", opening).manifest.keys == 3009


class Breaks:
    """A client whose snapshot is interfered with after its first chunk."""

    def __init__(self, client: MemberClient, then: Callable[[], object]) -> None:
        self._client, self._then = client, then

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    def snapshot(self, *, timeout: float) -> "Breaks":
        self._stream = self._client.snapshot(timeout=timeout, patience=1.0)
        self.size = self._stream.size
        return self

    def unproven(self) -> Iterator[bytes]:
        chunks = self._stream.unproven()
        yield next(chunks)
        self._then()
        yield from chunks


def big_member(place_root: Path) -> Iterator[tuple[EtcdMember, MemberClient]]:
    with loopback(etcd_binary(), place_root) as place:
        place.announce("cp1")
        member = place.start("cp1")
        wait_for_quorum(member)
        with member.client(timeout=20) as client:
            for number in range(30):  # more than the connection holds on its way
                client.etcd3.put(f"/registry/secrets/default/{number}", "x" * 1_000_000)
            yield member, client


@pytest.fixture
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EtcdMember, MemberClient]]:
    yield from big_member(tmp_path_factory.mktemp("large"))


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_member_that_dies_while_it_streams_leaves_nothing_behind(
    large: tuple[EtcdMember, MemberClient], tmp_path: Path
) -> None:
    member, client = large
    with open_store(str(tmp_path)) as store, pytest.raises(EtcdUnavailable):
        take(Breaks(client, member.stop), store, SEALED)  # type: ignore[arg-type]
    assert left_behind(tmp_path) == []


def test_a_member_that_freezes_while_it_streams_is_given_up(
    large: tuple[EtcdMember, MemberClient], tmp_path: Path
) -> None:
    member, client = large
    with open_store(str(tmp_path)) as store, ExitStack() as frozen:
        breaks = Breaks(client, lambda: frozen.enter_context(member.paused()))
        with pytest.raises(EtcdTimeout, match=r"sent nothing for 1 s within its snapshot"):
            take(breaks, store, SEALED)  # type: ignore[arg-type]
    assert left_behind(tmp_path) == []


def test_a_disk_that_has_no_room_is_refused_before_anything_is_written(client: MemberClient, tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store, pytest.raises(CpkitError, match=r"MB left, and"), store.upload(1 << 60):
        pass
    assert left_behind(tmp_path) == []


def test_names_that_are_no_backups_are_told(client: MemberClient, tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        with pytest.raises(NoSuchBackup, match="holds no backup"):
            catalogue.find(store, "latest", "prod")
        with pytest.raises(NoSuchBackup, match="no name of a backup"):
            catalogue.find(store, "../etc/passwd")
        sidecar = take(client, store, SEALED)
        assert catalogue.find(store, sidecar.object) == sidecar
        (tmp_path / f"{sidecar.name}.json").unlink()
        with pytest.raises(NoSuchBackup, match="its upload never ended"):
            open_bundle(store, sidecar.name, OPENING)
        assert [item.name for item in catalogue.read(store).leftovers] == [sidecar.object]


def test_a_backup_that_changes_after_it_was_proven_is_not_given_out(client: MemberClient, tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        sidecar = take(client, store, None)
        bundle = open_bundle(store, sidecar.name, None)
        path = tmp_path / sidecar.object
        with tarfile.open(path) as archive:
            at = archive.getmember(SNAPSHOT).offset_data + 100_000
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)
        with pytest.raises(DamagedBackup, match="has changed"):
            list(bundle.stream())


def test_a_stream_may_be_left_early(client: MemberClient, tmp_path: Path) -> None:
    before = threading.active_count()
    with open_store(str(tmp_path)) as store:
        for kind, (sealing, opening) in KINDS.items():
            take(client, store, sealing, cluster=kind)
            stream = open_bundle(store, catalogue.find(store, "latest", kind).name, opening).stream()
            assert len(next(iter(stream))) > 0
            stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before + 1  # nobody waits for a reader that is gone
