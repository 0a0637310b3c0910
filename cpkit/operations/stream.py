"""Follow a cluster: a backup to begin with, and every revision after it into the store, until told to end."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

from cpkit import etcd
from cpkit.backup import Sealing, Store, catalogue, open_store
from cpkit.backup.chain import Chain
from cpkit.backup.following import End, Following, Where
from cpkit.backup.growing import Growing
from cpkit.backup.source import choose
from cpkit.backup.taking import kind
from cpkit.errors import CpkitError, Locked
from cpkit.facts.collect import collect
from cpkit.facts.member import open_member
from cpkit.inventory import Cluster
from cpkit.journal import owner
from cpkit.operations.backup import Options, backup
from cpkit.operations.listener import Listener, Within
from cpkit.paths import state_dir

CALL = 5.0
AGAIN = 300.0  # seconds until a backup that failed is tried again
Tell = Callable[[Where], None]
REASONS: dict[End, str] = {
    "compacted": "etcd has compacted the history that would come next: a new backup is taken to go on from",
    "other": "this is another etcd than the one of before, a restored one perhaps: a new backup is taken to go on from",
}


@dataclass(frozen=True)
class Wanted:
    """What the user asked for."""

    location: str
    sealing: Sealing = field(repr=False)
    base_hours: float = 24.0  # a new backup to go on from after so long


@dataclass(frozen=True)
class Ended:
    """How a stream ended."""

    base: str
    revision: int
    segments: int
    bytes: int  # of this run, after the last backup


@dataclass(frozen=True)
class _Streaming:
    cluster: Cluster
    wanted: Wanted
    listener: Listener
    stopping: Callable[[], bool]
    tell: Tell
    order: tuple[str, ...]  # the nodes, in the order in which they are followed

    def run(self, known: Chain | None) -> Ended:
        """Follow, from one backup to the next, until told to end."""
        known = known or _based(self.cluster, self.wanted, self.listener)
        while True:
            growing = self._growing(known)
            try:
                end, fresh = self._follow(growing)
                growing.tell(ended=True)
            finally:
                growing.release()
            if end == "told":
                return Ended(known.base.name, growing.stored_revision, growing.number, growing.bytes)
            if fresh is None:
                self.listener.say(REASONS[end])
                fresh = _based(self.cluster, self.wanted, Within(self.listener))
            known = fresh

    def _follow(self, growing: Growing) -> tuple[End, Chain | None]:
        """Follow until there is a reason to end, and the next backup if that is the reason.

        Nothing may lie between two chains, and nothing may wait: the next backup is taken beside following, and this
        chain goes on up to where the next one begins.
        """
        rebasing = Rebasing(self.cluster, self.wanted, growing.base.created, self.listener)

        def reason() -> End | None:
            return "told" if self.stopping() else rebasing.reason(growing.revision)

        with rebasing:
            end = Following(growing, self._member, reason, self.tell, self.listener.say).run()
        return end, rebasing.fresh if end == "reached" else None

    def _growing(self, known: Chain) -> Growing:
        growing = Growing(
            known,
            self.wanted.sealing,
            owner=owner(),
            opening=lambda: open_store(self.wanted.location),
            say=self.listener.say,
        )
        growing.begin()
        self.listener.say(f"goes on from revision {known.last}, after {known.base.name}")
        return growing

    @contextmanager
    def _member(self, turn: int) -> Iterator[etcd.MemberClient]:
        name = self.order[turn % len(self.order)]
        node = next(node for node in self.cluster.control_plane if node.name == name)
        with open_member(node, timeout=CALL) as client:
            yield client


def _based(cluster: Cluster, wanted: Wanted, listener: Listener) -> Chain:
    taken = backup(cluster, Options(wanted.location, wanted.sealing), listener)
    return Chain(taken.sidecar, (), None)


class Rebasing:
    """The next backup to go on from, taken beside following when the last one is old; one that fails is tried again."""

    def __init__(self, cluster: Cluster, wanted: Wanted, created: datetime, listener: Listener) -> None:
        self.fresh: Chain | None = None
        self._cluster, self._wanted, self._listener = cluster, wanted, listener
        self._at = created.timestamp() + wanted.base_hours * 3600
        self._pool = ThreadPoolExecutor(1)
        self._taking: Future[Chain] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def reason(self, revision: int) -> End | None:
        """Begin when it is time; the reason to end, as soon as everything before the new backup was received."""
        if self.fresh is None and self._taking is None and time.time() > self._at:
            self._listener.say("the backup it goes on from has become old: a new one is taken")
            self._taking = self._pool.submit(_based, self._cluster, self._wanted, Within(self._listener))
        if self._taking and self._taking.done():
            try:
                self.fresh = self._taking.result()
            except CpkitError as failed:
                self._listener.say(f"no new backup could be taken, so the old one goes on: {failed}")
                self._at = time.time() + AGAIN
            self._taking = None
        return "reached" if self.fresh and revision >= self.fresh.base.revision else None


def stream(cluster: Cluster, wanted: Wanted, listener: Listener, *, stopping: Callable[[], bool], tell: Tell) -> Ended:
    """Follow a cluster into a store until told to end; whatever cuts it off, the same command goes on."""
    with _alone(cluster.name):
        snapshot = collect(cluster)
        first = choose(snapshot).node
        names = [node.name for node in cluster.control_plane]
        at = names.index(first)
        order = (*names[at:], *names[:at])
        with open_store(wanted.location) as store:
            known = _known(wanted, _chains(store, cluster.name), listener)
        return _Streaming(cluster, wanted, listener, stopping, tell, order).run(known)


def _chains(store: Store, cluster: str) -> tuple[Chain, ...]:
    """The backups of a cluster, each with its stream, an empty one where there is none; newest first."""
    found = catalogue.read(store, cluster)
    return tuple(found.streams.get(base.name) or Chain(base, (), None) for base in found.backups)


def _known(wanted: Wanted, chains: tuple[Chain, ...], listener: Listener) -> Chain | None:
    """The newest backup to go on from; None when a new one has to be taken. Whether its history is left, etcd says."""
    fitting = [each for each in chains if each.base.encryption == kind(wanted.sealing)]
    if not fitting:
        listener.say("there is no backup to go on from: one is taken first")
        return None
    newest = fitting[0]
    if newest.broken:
        listener.say(f"{newest.broken}: a new backup is taken to go on from")
        return None
    if time.time() - newest.base.created.timestamp() > wanted.base_hours * 3600:
        listener.say(f"{newest.base.name} is too old to go on from: a new backup is taken first")
        return None
    return newest


@contextmanager
def _alone(cluster: str) -> Iterator[None]:
    """One stream of a cluster on a machine; the lock ends with the process, however that ends."""
    home = state_dir() / "clusters" / cluster
    try:
        home.mkdir(parents=True, mode=0o700, exist_ok=True)
        lock = os.open(home / "stream.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CpkitError(f"{home} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Locked(f"{cluster} is followed by another process on this machine already") from None
    finally:
        os.close(lock)
