"""Replay a stream onto a backup, in a throw-away etcd in memory, revision by revision.

Each revision is written again as the one transaction it was, so it gets the same number, and the keys hash as they did
in the cluster. Nothing is given out before that was compared at a recorded revision: the last one up to the wanted, and
the first one after it, up to which the replay goes on when the snapshot is taken.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from cpkit import etcd
from cpkit.backup import resources
from cpkit.backup.archive import Passing
from cpkit.backup.database import Database
from cpkit.backup.errors import BackupError, DamagedBackup
from cpkit.backup.manifest import Hash, Part
from cpkit.backup.scratch import scratch_etcd
from cpkit.backup.segment import Segment
from cpkit.handing import whole

ALIVE = 2.0  # seconds between two times that leases begin anew; none may end within a replay
GONE = 60  # seconds for a lease that had ended before it could be asked about
LONGEST = 3600.0  # seconds for a snapshot


@dataclass(frozen=True)
class Replayed:
    """The snapshot of a replay, in memory behind a descriptor."""

    descriptor: int
    part: Part
    database: Database
    resources: dict[str, int]
    compared: tuple[Hash, ...] = field(default=())  # where the keys hash as they did

    def chunks(self) -> Iterator[bytes]:
        """The snapshot."""
        return whole(self.descriptor)


@contextmanager
def replayed(
    snapshot: Iterable[bytes],
    size: int,
    binaries: Path,
    *,
    hashes: tuple[Hash, ...],
    segments: Iterable[Segment],
    revision: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Replayed]:
    """A snapshot at a revision, for as long as the context lasts; DamagedBackup when the keys hash otherwise."""
    descriptor = os.memfd_create("replayed", os.MFD_CLOEXEC)
    try:
        with scratch_etcd(snapshot, size, binaries) as client, _leases_alive(client) as granted:
            replay = _Replay(client, granted, progress)
            base = client.probe()
            replay.compare(hashes)
            for segment in segments:
                replay.go(segment, base, revision, descriptor)
                if replay.taken and replay.proven_after:
                    break
            if not replay.taken and base == revision:
                replay.take(descriptor)
            found = replay.result(descriptor, revision)
        yield found
    finally:
        os.close(descriptor)


class _Replay:
    """How far a replay has come."""

    def __init__(self, client: etcd.MemberClient, granted: set[int], progress: Callable[[int], None]) -> None:
        self.taken: tuple[Part, Database, dict[str, int]] | None = None
        self.proven_after = False
        self._client, self._granted, self._progress = client, granted, progress
        self._compared: list[Hash] = []
        self._compacted = 0

    def go(self, segment: Segment, base: int, revision: int, descriptor: int) -> None:
        """Write a segment again; on the way, take the snapshot at the wanted revision."""
        for record in segment.records():
            if record.revision <= base:
                continue
            if record.revision == revision + 1 and not self.taken:
                self.take(descriptor)
            self._grant(self._client.leases_of(record.events), segment.head.leases)
            made = self._client.write_again(record.events)
            if made != record.revision:
                text = f"revision {record.revision} became {made}: the stream and the backup do not fit"
                raise DamagedBackup(text)
            self._progress(made)
        self.compare(segment.head.hashes)
        if not self.taken and segment.head.last == revision:
            self.take(descriptor)
        self.proven_after = bool(self.taken) and any(each.revision >= revision for each in segment.head.hashes)

    def compare(self, hashes: Iterable[Hash]) -> None:
        """Hash as the members did, with the history that they had left; DamagedBackup when it is another."""
        for wanted in hashes:
            if wanted.compacted > self._compacted:
                self._compacted = wanted.compacted
                with suppress(etcd.EtcdRefused):  # the backup was compacted there already
                    self._client.compact(wanted.compacted, physical=True)
            found = self._client.hash_kv(wanted.revision)
            if found.compact_revision != wanted.compacted:
                continue  # a member whose history was longer than what is left here
            if found.hash != wanted.hash:
                raise DamagedBackup(
                    f"at revision {wanted.revision} the replay holds other keys than {wanted.node} held",
                    hint="The watch lost something, or the stream was changed. Go back to an earlier revision, or to "
                    "the backup itself.",
                )
            self._compared.append(wanted)

    def take(self, descriptor: int) -> None:
        """Take the snapshot, into memory."""
        snapshot = self._client.snapshot(timeout=LONGEST)
        passing = Passing(snapshot.size)
        for data in snapshot.unproven():
            passing.feed(data)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        part, database = passing.finish()
        self.taken = part, database, resources.count(self._client, database.revision)

    def result(self, descriptor: int, revision: int) -> Replayed:
        """What came of it."""
        if self.taken is None or self.taken[1].revision != revision:
            raise BackupError(f"the stream does not lead to revision {revision}")
        if not self._compared:
            raise DamagedBackup("no member's hash was recorded that the replay can be compared with")
        return Replayed(descriptor, *self.taken, tuple(self._compared))

    def _grant(self, leases: tuple[int, ...], terms: dict[int, int]) -> None:
        for lease in leases:
            if lease not in self._granted:
                self._client.grant(lease, terms.get(lease) or GONE)
                self._granted.add(lease)


@contextmanager
def _leases_alive(client: etcd.MemberClient) -> Iterator[set[int]]:
    """The leases there are; while the context lasts none of them ends, for that would be a revision of its own."""
    granted, over = set(client.leases()), Event()

    def run() -> None:
        while not over.wait(ALIVE):
            with suppress(etcd.EtcdError):
                client.keep_alive(tuple(granted), timeout=ALIVE)

    client.keep_alive(tuple(granted))
    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield granted
    finally:
        over.set()
        thread.join()
