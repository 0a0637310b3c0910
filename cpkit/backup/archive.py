"""The archive: a tar with the small parts first, the snapshot after them, and the manifest last."""

import hashlib
import tarfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from cpkit.backup.bolt import Follower
from cpkit.backup.database import Database, judge
from cpkit.backup.errors import DamagedBackup
from cpkit.backup.manifest import MANIFEST, SNAPSHOT, Part
from cpkit.backup.streams import gathered

BLOCK = tarfile.BLOCKSIZE
TRAILER = 32  # etcd ends a snapshot with the SHA-256 of the database before it
END = bytes(2 * BLOCK)


class Passing:
    """A snapshot on its way through: its digest, its trailer and its pages."""

    def __init__(self, size: int) -> None:
        self._database = size - TRAILER
        self._seen = 0
        self._digest = hashlib.sha256()
        self._trailer = b""
        self._follower = Follower()

    def feed(self, data: bytes) -> None:
        """The next part of the snapshot."""
        left = self._database - self._seen
        self._seen += len(data)
        if len(data) > left:
            self._trailer += data[max(left, 0) :]
            data = data[: max(left, 0)]
        if data:
            self._digest.update(data)
            self._follower.feed(data)

    def finish(self) -> tuple[Part, Database]:
        """The part and what it holds; DamagedBackup when it is not whole."""
        if self._seen != self._database + TRAILER:
            raise DamagedBackup(f"the snapshot ends after {self._seen} of {self._database + TRAILER} bytes")
        if self._trailer != self._digest.digest():
            raise DamagedBackup("the snapshot is damaged: its SHA-256 is not the one that etcd wrote at its end")
        whole = self._digest.copy()
        whole.update(self._trailer)
        return Part(SNAPSHOT, self._seen, whole.hexdigest()), judge(self._follower)


@dataclass(frozen=True)
class Incoming:
    """A snapshot about to be streamed; its size is known from the first message."""

    size: int
    chunks: Iterable[bytes]


def write(
    parts: Mapping[str, bytes],
    snapshot: Incoming,
    created: datetime,
    describe: Callable[[tuple[Part, ...], Database], bytes],
) -> Generator[bytes, None, None]:
    """The archive piece by piece; `describe` makes the manifest when everything before it has passed."""
    told = []
    for name, data in parts.items():
        told.append(Part(name, len(data), hashlib.sha256(data).hexdigest()))
        yield from _member(name, data, created)
    passing = Passing(snapshot.size)
    yield _header(SNAPSHOT, snapshot.size, created)
    for chunk in gathered(snapshot.chunks):
        passing.feed(chunk)
        yield chunk
    part, database = passing.finish()
    yield _padding(snapshot.size)
    yield from _member(MANIFEST, describe((*told, part), database), created)
    yield END


def _member(name: str, data: bytes, created: datetime) -> Iterator[bytes]:
    yield _header(name, len(data), created)
    yield data
    yield _padding(len(data))


def _header(name: str, size: int, created: datetime) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(created.timestamp())
    return member.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)
