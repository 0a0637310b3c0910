"""The end of a chain that grows: what was received becomes segments, each in the store before the next."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from cpkit.backup import chain, segment
from cpkit.backup.chain import Chain, State
from cpkit.backup.errors import DamagedBackup
from cpkit.backup.keys import Passphrase, Recipients, Sealing, recipients
from cpkit.backup.manifest import Hash
from cpkit.backup.reopening import Opening, Reopening
from cpkit.backup.segment import Head, Record
from cpkit.backup.stores import Store
from cpkit.errors import Locked

CLOSE = 2.0  # seconds after which what was received is stored, if there is something
ALIVE = 3.0  # seconds after which it is said that nothing was written
FULL = 8 << 20  # bytes with which a segment is closed before its time
STALE = 60.0  # seconds without a word until another machine may go on


class Growing:
    """A chain one run adds to; what it was given is in the store when `close` returns."""

    def __init__(
        self,
        known: Chain,
        key: Sealing,
        *,
        owner: str,
        opening: Opening,
        say: Callable[[str], None] = lambda _: None,
        close_after: float = CLOSE,
    ) -> None:
        self.base, self.revision, self.until = known.base, known.last, known.until
        self.stored_revision, self.bytes, self.number = known.last, 0, len(known.links)
        self._owner, self._token, self._key, self._close_after = owner, secrets.token_hex(8), key, close_after
        self.ending = False
        self._store = Reopening(opening, say, lambda: self.ending)
        self._known = known
        self._previous = known.base.sha256
        self._since = 0  # ms; since when it was followed without a pause; 0 until it is
        self._records: list[Record] = []
        self._size = 0
        self._began = self._said = time.monotonic()
        self._leases: dict[int, int] = {}
        self._hashes: list[Hash] = []

    def begin(self) -> None:
        """Take the stream over; Locked when another machine follows."""

        def take(store: Store) -> None:
            state = chain.read_state(store, self.base.name)
            if state and not state.ended and state.owner != self._owner and _now() - state.until < STALE * 1000:
                raise Locked(f"{state.owner} follows {self.base.cluster} into this store already")
            if self._known.links:
                self._previous = chain.stored_digest(store, self._known.links[-1].item.name)
            if state and state.number == len(self._known.links) and state.previous != self._previous:
                raise DamagedBackup(
                    f"the last object of the stream after {self.base.name} is not the one that was stored",
                    hint="Take a new backup, and the stream goes on from that: cpkit backup etcd",
                )
            if isinstance(self._key, Passphrase):
                self._key = _stream_key(store, self.base.name, self._key)
            chain.write_state(store, self.base.name, self._state())

        self._store.do(take)

    def add(self, revision: int, events: bytes) -> None:
        """A revision that was received now."""
        # A clock that was set back must not make a later revision an earlier one.
        at = max(_now(), self.until)
        if not self._records:
            self._began = time.monotonic()
        self._since = self._since or at
        self._records.append(Record(revision, at, events))
        self._size += len(events)
        self.revision, self.until = revision, at

    def alive(self, at: float) -> None:
        """As of then, nothing but what was added was written."""
        self._since = self._since or max(int(at * 1000), self.until)
        self.until = max(self.until, int(at * 1000))

    def paused(self) -> None:
        """What comes next may have been written at any time since the last word."""
        self._since = 0

    def learn(self, leases: dict[int, int]) -> None:
        """For how many seconds leases were granted."""
        self._leases |= leases

    def compare(self, hashed: Hash) -> None:
        """What a replay is to be compared with."""
        self._hashes.append(hashed)

    @property
    def pending(self) -> tuple[Record, ...]:
        """What is not stored yet."""
        return tuple(self._records)

    @property
    def due(self) -> bool:
        """Whether a segment is to be closed."""
        return bool(self._records) and (time.monotonic() - self._began >= self._close_after or self._size >= FULL)

    def tell(self, *, ended: bool = False) -> None:
        """Say that the stream is alive, or that it ends here, unless that was said a moment ago."""
        if not self._records and (ended or time.monotonic() - self._said >= ALIVE):
            state = replace(self._state(), ended=ended)
            self._store.do(lambda store: self._fenced(store, state))

    def close(self) -> None:
        """Put what was received into the store as one segment."""
        if not self._records:
            return
        body = segment.body_of(self._records)
        head = Head(
            base=self.base.name,
            number=self.number + 1,
            first=self._records[0].revision,
            last=self._records[-1].revision,
            since=self._since,
            until=self.until,
            previous=self._previous,
            changes=len(self._records),
            size=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            leases=self._leases,
            hashes=tuple(self._hashes),
        )
        data = segment.write(head, body, self._key)
        name = chain.segment_name(self.base.name, head.number, head.last, head.until)
        self._store.do(lambda store: self._put(store, name, data))
        self.number, self._previous, self.stored_revision = head.number, hashlib.sha256(data).hexdigest(), head.last
        self.bytes += len(data)
        self._records, self._size, self._leases, self._hashes = [], 0, {}, []
        state = self._state()
        self._store.do(lambda store: self._fenced(store, state))

    def release(self) -> None:
        """Let go of the store."""
        self._store.close()

    def _put(self, store: Store, name: str, data: bytes) -> None:
        """May be called again after a failure of which it is not known how far it came."""
        self._refuse_other(store)
        there = store.stat(name)
        if there is not None and chain.stored_digest(store, name) == hashlib.sha256(data).hexdigest():
            return
        with store.upload(len(data)) as upload:
            upload.write(data)
            upload.commit(name)

    def _fenced(self, store: Store, state: State) -> None:
        self._refuse_other(store)
        chain.write_state(store, self.base.name, state)
        self._said = time.monotonic()

    def _refuse_other(self, store: Store) -> None:
        state = chain.read_state(store, self.base.name)
        if state is None:
            raise Locked(f"the stream after {self.base.name} was taken away from the store", hint="Begin a new one.")
        if state.token != self._token:
            raise Locked(
                f"{state.owner} follows {self.base.cluster} into this store now", hint="One of both is enough."
            )

    def _state(self) -> State:
        return State(self._owner, self._token, self.number, self.stored_revision, self.until, self._previous)


def _stream_key(store: Store, base: str, passphrase: Passphrase) -> Recipients:
    from cpkit.backup.keys import Identities, publics
    from cpkit.backup.streamkey import new_key, open_key

    name = base + chain.KEY
    if store.stat(name) is None:
        sealed, public = new_key(passphrase)
        store.write(name, sealed)
        return recipients([public])
    return recipients(publics(Identities(open_key(store.read(name, chain.SMALL), passphrase, name), name)))


def _now() -> int:
    return time.time_ns() // 1_000_000
