"""A backup that is read: proven first, and only then given out."""

import hashlib
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import F_SETPIPE_SZ, fcntl
from typing import IO, cast

from cpkit.backup import catalogue
from cpkit.backup.archive import Passing
from cpkit.backup.database import Database
from cpkit.backup.errors import BackupError, DamagedBackup, WrongKey
from cpkit.backup.keys import Identities, Opening, Passphrase
from cpkit.backup.manifest import MANIFEST, SNAPSHOT, Manifest, Part, Sidecar
from cpkit.backup.manifest_json import read_manifest
from cpkit.backup.sealing import unseal
from cpkit.backup.stores import Store
from cpkit.backup.streams import Counted, Passed, chunks

LARGEST_PART = 4 << 20
MOST_PARTS = 1000
PIPE = 1 << 20
Progress = Callable[[int], None]
Copy = Callable[[bytes], object]


@dataclass(frozen=True)
class Bundle:
    """A backup whose every byte was read and found right; small parts are in memory, the snapshot is streamed."""

    manifest: Manifest
    sidecar: Sidecar
    database: Database
    _store: Store = field(repr=False)
    _key: Opening = field(repr=False)
    _parts: dict[str, bytes] = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The small parts it holds."""
        return tuple(self._parts)

    def read(self, name: str) -> bytes:
        """A small part."""
        self.manifest.part(name)
        return self._parts[name]

    def stream(self, name: str = SNAPSHOT) -> Iterator[bytes]:
        """A part as the store holds it now; DamagedBackup at its end, at the latest, if that has changed."""
        return stream_part(self._store, self.sidecar, self._key, self.manifest.part(name))


def stream_part(store: Store, sidecar: Sidecar, key: Opening, part: Part) -> Iterator[bytes]:
    """A part of a backup that was verified before; DamagedBackup at its end, at the latest, if it has changed."""
    digest = hashlib.sha256()
    with store.open(sidecar.object) as source, _members(Passed(source=source), key, sidecar.name) as archive:
        for member in archive:
            if member.name != part.name:
                continue
            for data in chunks(_content(archive, member)):
                digest.update(data)
                yield data
            if digest.hexdigest() != part.sha256:
                raise DamagedBackup(f"{part.name} has changed since the backup was verified")
            return
    raise DamagedBackup(f"{part.name} is gone since the backup was verified")


def open_bundle(
    store: Store, name: str, key: Opening, *, progress: Progress = lambda _: None, copy: Copy = lambda _: None
) -> Bundle:
    """Read a backup wholly and prove it; DamagedBackup, WrongKey or NoSuchBackup say why there is none.

    `copy` is given the snapshot as it passes; nothing may be made of that before the bundle is there.
    """
    sidecar = catalogue.find(store, name)
    _refuse_key(sidecar, key)
    with store.open(sidecar.object) as source:
        sealed = Counted(source=source, advance=progress)
        with _members(sealed, key, sidecar.name) as archive:
            reading = _Reading(copy)
            for member in archive:
                reading.take(archive, member)
            _refuse_rest(archive)
    if (sealed.size, sealed.sha256) != (sidecar.size, sidecar.sha256):
        what = f"{sealed.size} bytes of {sidecar.size}" if sealed.size != sidecar.size else "its SHA-256 is another"
        raise DamagedBackup(f"{sidecar.object} is not what was stored: {what}")
    manifest, database = reading.judged()
    _refuse_stranger(manifest, reading.manifest_sha256, sidecar)
    return Bundle(manifest, sidecar, database, store, key, reading.parts)


class _Reading:
    """What was found in an archive so far."""

    def __init__(self, copy: Copy) -> None:
        self.parts: dict[str, bytes] = {}
        self.manifest_sha256 = ""
        self._copy = copy
        self._found: list[Part] = []
        self._manifest: Manifest | None = None
        self._database: Database | None = None

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Read a member; its order, its size and its kind are given."""
        if self._manifest or not member.isreg() or len(self._found) > MOST_PARTS:
            raise DamagedBackup(f"the archive holds what no backup has: {member.name}")
        content = _content(archive, member)
        if member.name == SNAPSHOT:
            passing = Passing(member.size)
            for data in chunks(content):
                passing.feed(data)
                self._copy(data)
            part, self._database = passing.finish()
            self._found.append(part)
            return
        if member.size > LARGEST_PART:
            raise DamagedBackup(f"{member.name} is larger than any such part: {member.size} bytes")
        data = content.read(member.size)
        if len(data) < member.size:
            raise DamagedBackup(f"the archive ends within {member.name}")
        if member.name == MANIFEST:
            self._manifest, self.manifest_sha256 = read_manifest(data), hashlib.sha256(data).hexdigest()
            return
        self.parts[member.name] = data
        self._found.append(Part(member.name, len(data), hashlib.sha256(data).hexdigest()))

    def judged(self) -> tuple[Manifest, Database]:
        """The manifest and the database; DamagedBackup unless the first describes what was found, to the byte."""
        manifest, database = self._manifest, self._database
        if manifest is None or database is None:
            raise DamagedBackup(f"the archive ends before its {SNAPSHOT if database is None else MANIFEST}")
        found = {part.name: part for part in self._found}
        for part in manifest.parts:
            if part.name not in found:
                raise DamagedBackup(f"{part.name} is missing")
            if found[part.name] != part:
                raise DamagedBackup(f"{part.name} is not the one that the manifest describes")
        if len(found) != len(manifest.parts) or len(self._found) != len(found):
            raise DamagedBackup("the archive holds parts that the manifest does not name")
        for name in ("revision", "compacted", "key_revisions", "consistent_index", "term", "storage_version"):
            told, held = getattr(manifest, name), getattr(database, name)
            if told != held:
                raise DamagedBackup(f"the manifest says {name} {told}, and the database {held}")
        return manifest, database


@contextmanager
def _members(sealed: Passed, key: Opening, name: str) -> Iterator[tarfile.TarFile]:
    """The archive as it is decrypted.

    Decryption pushes and tar pulls, so a thread and a pipe stand between them; the plaintext touches no disk.
    """
    reader, writer = os.pipe()
    with suppress(OSError):  # the kernel limits how much the pipes of a user may hold together
        fcntl(writer, F_SETPIPE_SZ, PIPE)
    failed: list[BaseException] = []
    thread = threading.Thread(target=_decrypt, args=(sealed, writer, key, name, failed), daemon=True)
    thread.start()
    stopped = False
    try:
        with (
            os.fdopen(reader, "rb", buffering=PIPE) as plain,
            tarfile.open(fileobj=plain, mode="r|", bufsize=PIPE) as archive,
        ):
            yield archive
    except GeneratorExit:
        stopped = True
        raise
    except (tarfile.TarError, BackupError, EOFError) as error:
        thread.join()
        _raise_first(failed)  # what stopped the decryption is why the archive is broken
        if isinstance(error, BackupError):
            raise
        raise DamagedBackup(f"{name} is damaged: {error}") from None
    finally:
        thread.join()
    if not stopped:
        _raise_first(failed)


def _decrypt(sealed: Passed, writer: int, key: Opening, name: str, failed: list[BaseException]) -> None:
    try:
        with suppress(BrokenPipeError), os.fdopen(writer, "wb", buffering=0) as pipe:
            plain = Passed(target=_Whole(pipe))
            unseal(sealed, plain, key, name)
            plain.settle()
    except BaseException as error:  # raised again where somebody waits for it
        failed.append(error)


@dataclass(frozen=True)
class _Whole:
    """Writes all of the data to a pipe, which may take less at a time."""

    pipe: IO[bytes]

    def write(self, data: bytes, /) -> None:
        """All of the data."""
        view = memoryview(data)
        while view:
            view = view[self.pipe.write(view) :]


def _raise_first(failed: list[BaseException]) -> None:
    for error in failed:
        if not isinstance(error, BrokenPipeError):
            raise error


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member)
    if content is None:
        raise DamagedBackup(f"the archive holds what no backup has: {member.name}")
    return content


def _refuse_rest(archive: tarfile.TarFile) -> None:
    """What follows the end of the archive belongs to no backup; reading it also drains the pipe."""
    rest = cast("IO[bytes]", archive.fileobj)
    for data in chunks(rest):
        if data.strip(b"\0"):
            raise DamagedBackup("something follows the archive's end")


def _refuse_key(sidecar: Sidecar, key: Opening) -> None:
    """A key of the wrong kind cannot open it, and needs not be tried."""
    if sidecar.encryption == "recipients" and not isinstance(key, Identities):
        raise WrongKey(f"{sidecar.name} was sealed for {', '.join(sidecar.recipients)}", hint="Give --identity FILE.")
    if sidecar.encryption == "passphrase" and not isinstance(key, Passphrase):
        raise WrongKey(f"{sidecar.name} was sealed with a passphrase", hint="Give --passphrase-file FILE.")


def _refuse_stranger(manifest: Manifest, digest: str, sidecar: Sidecar) -> None:
    """The sidecar must be of this very backup."""
    for name in ("cluster", "cluster_id", "created", "kubernetes", "etcd", "storage_version", "revision", "keys"):
        told, held = getattr(sidecar, name), getattr(manifest, name)
        if told != held:
            raise DamagedBackup(f"{sidecar.name}.json says {name} {told}, and the backup itself {held}")
    if digest != sidecar.manifest:
        raise DamagedBackup(f"the manifest is not the one that {sidecar.name}.json names")
