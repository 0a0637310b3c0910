"""A segment of a stream: the changes between two revisions, sealed like a backup, and bound to what came before it.

A head of JSON on one line says what the body holds; the body is the changes one after the other, packed. The head holds
the SHA-256 of the object before it, so segments that are left out, swapped or taken from elsewhere do not fit.
"""

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal

from cpkit.backup.errors import DamagedBackup
from cpkit.backup.keys import Opening, Sealing
from cpkit.backup.manifest import Hash
from cpkit.backup.sealing import seal, unseal
from cpkit.backup.streams import Passed, Pulled

if TYPE_CHECKING:
    from pydantic import TypeAdapter

CHANGE = struct.Struct(">QQI")  # revision, when it was received in ms since 1970, and the size of its events
LARGEST = 1 << 30  # bytes of a body; a segment is closed long before


@dataclass(frozen=True)
class Record:
    """One revision: when it was received, and its events as etcd's own message."""

    revision: int
    at: int  # ms since 1970, by the clock of the machine that follows
    events: bytes = field(repr=False)


@dataclass(frozen=True)
class Head:
    """What a segment says of itself."""

    base: str  # the backup it goes on from
    number: int
    first: int  # the revision after the last of the segment before
    last: int  # nothing is missing up to here
    since: int  # ms; from here on it was followed without a pause
    until: int  # ms; as of then nothing else was written
    previous: str  # SHA-256 of the object before it; of the backup itself for the first
    changes: int
    size: int  # of the body
    sha256: str  # of the body
    leases: dict[int, int]  # leases that keys hang on, and the seconds they were granted for; 0 for one that was gone
    hashes: tuple[Hash, ...]  # of members, to compare a replay with
    schema: Literal[1] = 1


@dataclass(frozen=True)
class Segment:
    """A segment that was read."""

    head: Head
    body: bytes = field(repr=False)

    def records(self) -> Iterator[Record]:
        """Its changes, in order; DamagedBackup when they are not what the head says."""
        at, revision, count = 0, self.head.first - 1, 0
        while at < len(self.body):
            if len(self.body) - at < CHANGE.size:
                raise DamagedBackup(f"segment {self.head.number} ends within a change")
            following, received, size = CHANGE.unpack_from(self.body, at)
            at += CHANGE.size + size
            if following != revision + 1 or following > self.head.last or at > len(self.body):
                raise DamagedBackup(f"segment {self.head.number} goes from revision {revision} to {following}")
            revision, count = following, count + 1
            yield Record(revision, received, self.body[at - size : at])
        if (revision, count) != (self.head.last, self.head.changes):
            raise DamagedBackup(f"segment {self.head.number} ends at revision {revision} of {self.head.last}")


def body_of(records: Iterable[Record]) -> bytes:
    """Changes as a segment holds them."""
    return b"".join(CHANGE.pack(each.revision, each.at, len(each.events)) + each.events for each in records)


def write(head: Head, body: bytes, key: Sealing) -> bytes:
    """The object of a segment, sealed in memory."""
    plain = (json.dumps(asdict(head)) + "\n").encode() + zlib.compress(body, 1)
    target = io.BytesIO()
    sealed = Passed(target=target)
    seal(Pulled([plain]), sealed, key)
    sealed.settle()
    return target.getvalue()


def read(data: bytes, key: Opening, name: str) -> Segment:
    """A segment; DamagedBackup or WrongKey says why there is none."""
    target = io.BytesIO()
    plain = Passed(target=target)
    unseal(Passed(source=io.BytesIO(data)), plain, key, name)
    plain.settle()
    from pydantic import ValidationError

    head, _, packed = target.getvalue().partition(b"\n")
    try:
        told = _heads().validate_json(head)
    except ValidationError as error:
        raise DamagedBackup(f"{name} is no segment: {error.errors()[0]['msg']}") from None
    try:
        body = zlib.decompressobj().decompress(packed, min(told.size, LARGEST) + 1)
    except zlib.error as error:
        raise DamagedBackup(f"{name} is damaged: {error}") from None
    if (len(body), hashlib.sha256(body).hexdigest()) != (told.size, told.sha256):
        raise DamagedBackup(f"{name} is damaged: its body is not what its head says")
    return Segment(told, body)


@cache
def _heads() -> "TypeAdapter[Head]":
    from pydantic import TypeAdapter

    return TypeAdapter(Head)
