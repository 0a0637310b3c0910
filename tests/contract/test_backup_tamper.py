"""Whatever is done to a stored backup, it is refused with a reason, and nothing of it is given out."""

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pyrage
import pytest

from cpkit.backup import (
    BackupError,
    DamagedBackup,
    Identities,
    NoSuchBackup,
    Opening,
    Passphrase,
    Recipients,
    Sealing,
    Sidecar,
    WrongKey,
    open_bundle,
    open_store,
    scrypt,
)
from cpkit.backup.manifest_json import read_sidecar, to_json
from cpkit.errors import Exit
from cpkit.etcd import MemberClient
from tests.contract.backups import take

IDENTITY, OTHER = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
KINDS: dict[str, tuple[Sealing, Opening]] = {
    "recipients": (Recipients((str(IDENTITY.to_public()),)), Identities(str(IDENTITY), "backup.key")),
    "passphrase": (Passphrase("correct horse"), Passphrase("correct horse")),
    "none": (None, None),
}


@dataclass(frozen=True)
class Backup:
    """A sound backup, to be spoilt in a copy of its store."""

    folder: Path
    sidecar: Sidecar
    opening: Opening

    @property
    def data(self) -> bytes:
        return (self.folder / self.sidecar.object).read_bytes()


@pytest.fixture(scope="module")
def sound(client: MemberClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Backup]]:
    """A backup of each kind, and another one of the same cluster."""
    patch = pytest.MonkeyPatch()
    patch.setattr(scrypt, "WORK", 10)
    made = {}
    for name, kind in (("recipients",) * 2, ("passphrase",) * 2, ("none",) * 2, ("another", "none")):
        for number in range(150):
            client.etcd3.put(f"/registry/secrets/{name}/{number}", f"{name} {number} " * 20)
        folder = tmp_path_factory.mktemp(name)
        with open_store(str(folder)) as store:
            made[name] = Backup(folder, take(client, store, KINDS[kind][0]), KINDS[kind][1])
    yield made
    patch.undo()


def refused(backup: Backup, folder: Path, data: bytes | None, sidecar: bytes | None = None) -> BackupError:
    """The reason why a store with these files gives no backup."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if data is not None:
        (folder / backup.sidecar.object).write_bytes(data)
    (folder / f"{backup.sidecar.name}.json").write_bytes(to_json(backup.sidecar) if sidecar is None else sidecar)
    with open_store(str(folder)) as store, pytest.raises(BackupError) as caught:
        open_bundle(store, backup.sidecar.name, backup.opening)
    assert len(caught.value.message) > 15
    return caught.value


def vouched(backup: Backup, data: bytes, **changes: object) -> bytes:
    """A sidecar that vouches for other bytes: what is inside must be judged on its own."""
    told = replace(backup.sidecar, size=len(data), sha256=sha256(data).hexdigest(), **changes)  # type: ignore[arg-type]
    return to_json(told)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fixtures_themselves_are_sound(sound: dict[str, Backup], kind: str) -> None:
    backup = sound[kind]
    with open_store(str(backup.folder)) as store:
        assert open_bundle(store, backup.sidecar.name, backup.opening).manifest.keys


@pytest.mark.parametrize("vouching", [False, True], ids=["", "sidecar-vouches"])
@pytest.mark.parametrize("kind", ["recipients", "passphrase"])
def test_a_flipped_byte_anywhere(sound: dict[str, Backup], tmp_path: Path, kind: str, vouching: bool) -> None:
    backup, data = sound[kind], sound[kind].data
    places = {*range(0, 220, 11), *range(0, len(data), len(data) // 60), len(data) - 1, len(data) - 17}
    for place in sorted(places):
        spoilt = bytearray(data)
        spoilt[place] ^= 0x10
        error = refused(backup, tmp_path / "s", bytes(spoilt), vouched(backup, bytes(spoilt)) if vouching else None)
        assert isinstance(error, DamagedBackup | WrongKey), place  # a changed header may look like another key's
        assert error.code is Exit.REFUSED


def test_a_flipped_byte_anywhere_in_the_clear(sound: dict[str, Backup], tmp_path: Path) -> None:
    backup, data = sound["none"], sound["none"].data
    for place in range(0, len(data), len(data) // 150):
        spoilt = bytearray(data)
        spoilt[place] ^= 0x10
        assert isinstance(refused(backup, tmp_path / "s", bytes(spoilt)), DamagedBackup), place


def test_a_flipped_byte_of_any_part_in_the_clear_that_the_sidecar_vouches_for(
    sound: dict[str, Backup], tmp_path: Path
) -> None:
    backup, data = sound["none"], sound["none"].data
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        members = archive.getmembers()
    tried = 0
    for member in members:
        for place in range(member.offset_data, member.offset_data + member.size, max(1, member.size // 40)):
            spoilt = bytearray(data)
            spoilt[place] ^= 0x10
            error = refused(backup, tmp_path / "s", bytes(spoilt), vouched(backup, bytes(spoilt)))
            assert isinstance(error, DamagedBackup), (member.name, place)
            tried += 1
    assert tried > 150


@pytest.mark.parametrize("vouching", [False, True], ids=["", "sidecar-vouches"])
@pytest.mark.parametrize("kind", KINDS)
def test_cut_off_at_every_sixteenth(sound: dict[str, Backup], tmp_path: Path, kind: str, vouching: bool) -> None:
    backup, data = sound[kind], sound[kind].data
    for sixteenth in range(16):
        for length in {len(data) * sixteenth // 16, max(0, len(data) * (sixteenth + 1) // 16 - 1025)}:
            cut = data[:length]
            error = refused(backup, tmp_path / "s", cut, vouched(backup, cut) if vouching else None)
            assert isinstance(error, DamagedBackup), length


@pytest.mark.parametrize("kind", KINDS)
def test_empty_longer_and_missing(sound: dict[str, Backup], tmp_path: Path, kind: str) -> None:
    backup, data = sound[kind], sound[kind].data
    assert isinstance(refused(backup, tmp_path / "s", b""), DamagedBackup)
    assert isinstance(refused(backup, tmp_path / "s", b"", vouched(backup, b"")), DamagedBackup)
    assert isinstance(refused(backup, tmp_path / "s", data + b"more"), DamagedBackup)
    longer = data + b"more"
    assert isinstance(refused(backup, tmp_path / "s", longer, vouched(backup, longer)), DamagedBackup)
    assert isinstance(refused(backup, tmp_path / "s", None), BackupError)
    (tmp_path / "s" / f"{backup.sidecar.name}.json").unlink()
    (tmp_path / "s" / backup.sidecar.object).write_bytes(data)
    with open_store(str(tmp_path / "s")) as store, pytest.raises(NoSuchBackup, match="upload never ended"):
        open_bundle(store, backup.sidecar.name, backup.opening)


def rebuilt(data: bytes, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> bytes:
    """The archive with its members changed."""
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        held = [(each.name, archive.extractfile(each).read()) for each in archive]  # type: ignore[union-attr]
    into = BytesIO()
    with tarfile.open(fileobj=into, mode="w") as archive:
        for name, content in change(held):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return into.getvalue()


def parts_of(backup: Backup) -> dict[str, bytes]:
    with tarfile.open(fileobj=BytesIO(backup.data)) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["pki/ca.key", "snapshot.db", "manifest.json"])
def test_parts_swapped_between_two_backups(sound: dict[str, Backup], tmp_path: Path, name: str) -> None:
    backup, other = sound["none"], dict(parts_of(sound["another"]))
    other["pki/ca.key"] = b"the key of somebody else\n"

    def swap(held: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        return [(each, other[each] if each == name else content) for each, content in held]

    data = rebuilt(backup.data, swap)
    assert isinstance(refused(backup, tmp_path / "s", data, vouched(backup, data)), DamagedBackup)


@pytest.mark.parametrize(
    "change",
    [
        lambda held: [each for each in held if each[0] != "pki/ca.key"],
        lambda held: [("pki/more.key", b"x"), *held],
        lambda held: [held[0], *held],
        lambda held: held[:-1],
        lambda held: [each for each in held if each[0] != "snapshot.db"],
        lambda held: [*held, ("late", b"x")],
        lambda held: [*held, held[-1]],
        lambda held: [("big", bytes(5 << 20)), *held],
        lambda _: [],
    ],
    ids=["removed", "added", "twice", "no manifest", "no snapshot", "behind", "two manifests", "huge", "nothing"],
)
def test_members_added_and_taken_away(
    sound: dict[str, Backup],
    tmp_path: Path,
    change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]],
) -> None:
    backup = sound["none"]
    data = rebuilt(backup.data, change)
    assert isinstance(refused(backup, tmp_path / "s", data, vouched(backup, data)), DamagedBackup)


def test_links_and_devices_are_no_parts(sound: dict[str, Backup], tmp_path: Path) -> None:
    backup = sound["none"]
    into = BytesIO()
    with tarfile.open(fileobj=into, mode="w") as archive:
        link = tarfile.TarInfo("pki/ca.key")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        archive.addfile(link)
    data = into.getvalue() + backup.data
    assert isinstance(refused(backup, tmp_path / "s", data, vouched(backup, data)), DamagedBackup)


def test_the_sidecar_of_another_backup(sound: dict[str, Backup], tmp_path: Path) -> None:
    backup, other = sound["none"], sound["another"]
    for sidecar in (
        to_json(other.sidecar),
        to_json(replace(other.sidecar, name=backup.sidecar.name)),
        to_json(replace(other.sidecar, name=backup.sidecar.name, object=backup.sidecar.object)),
        b"",
        b"{}",
        b"[1, 2]",
        to_json(backup.sidecar).replace(b'"schema": 1', b'"schema": 2'),
        to_json(backup.sidecar)[:-40],
        to_json(replace(backup.sidecar, object="../../etc/shadow")),
    ):
        assert isinstance(refused(backup, tmp_path / "s", backup.data, sidecar), BackupError)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cluster", "other"),
        ("cluster_id", "1"),
        ("revision", 7),
        ("keys", 7),
        ("kubernetes", "1.35.4"),
        ("etcd", "3.5.0"),
        ("storage_version", "3.5.0"),
    ],
)
def test_a_sidecar_that_tells_something_else(
    sound: dict[str, Backup], tmp_path: Path, field: str, value: object
) -> None:
    backup = sound["recipients"]
    sidecar = to_json(replace(backup.sidecar, **{field: value}))  # type: ignore[arg-type]
    assert field in refused(backup, tmp_path / "s", backup.data, sidecar).message


def test_wrong_keys(sound: dict[str, Backup]) -> None:
    wrong: dict[str, tuple[Opening, ...]] = {
        "recipients": (Identities(str(OTHER), "other.key"), Passphrase("correct horse"), None),
        "passphrase": (Passphrase("incorrect horse"), Identities(str(IDENTITY), "backup.key"), None),
    }
    for kind, openings in wrong.items():
        with open_store(str(sound[kind].folder)) as store:
            for opening in openings:
                with pytest.raises(WrongKey) as caught:
                    open_bundle(store, sound[kind].sidecar.name, opening)
                assert caught.value.hint
                assert "correct horse" not in str(caught.value)


def test_a_manifest_that_lies_about_the_database(sound: dict[str, Backup], tmp_path: Path) -> None:
    backup = sound["none"]
    for field in ("revision", "compacted", "key_revisions", "consistent_index", "term"):

        def lie(held: list[tuple[str, bytes]], field: str = field) -> list[tuple[str, bytes]]:
            told = json.loads(held[-1][1])
            told[field] += 1
            return [*held[:-1], (held[-1][0], json.dumps(told).encode())]

        data = rebuilt(backup.data, lie)
        changes = {"revision": backup.sidecar.revision + 1} if field == "revision" else {}
        assert field in refused(backup, tmp_path / "s", data, vouched(backup, data, **changes)).message


def test_sidecars_are_read_back_as_they_were_written(sound: dict[str, Backup]) -> None:
    for backup in sound.values():
        assert read_sidecar(to_json(backup.sidecar), backup.sidecar.name) == backup.sidecar
    assert sound["none"].sidecar.created - timedelta() == sound["none"].sidecar.created
