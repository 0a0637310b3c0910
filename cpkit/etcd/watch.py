"""A watch of every key: whole revisions in order, and how far nothing is missing."""

import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from cpkit.etcd.errors import EtcdRefused, EtcdTimeout, EtcdUnavailable, translated

EVERYTHING = b"\0"
ASK = 0.5  # seconds between two questions how far the member has told everything
AGAIN = 2.0  # seconds until a question that was not answered is put again
PATIENCE = 3.0  # seconds without an answer until the member is given up
HELD = 64  # messages read ahead; more of them wait at the member
NO_LEADER = (("hasleader", "true"),)  # a member that knows no leader ends the watch instead of falling silent


class Compacted(EtcdRefused):
    """The history a watch was to begin with is gone."""


@dataclass(frozen=True)
class Change:
    """One revision: all of its events, in order, as a WatchResponse of etcd's."""

    revision: int
    events: bytes


@dataclass(frozen=True)
class Told:
    """What a watch said since it was asked last."""

    changes: tuple[Change, ...] = ()
    revision: int = 0  # up to here nothing is missing; 0 when that is not said
    asked: float = 0.0  # when it was asked, if this is an answer to a question: as of then nothing else was written


class Watch:
    """Follows every key of a member from a revision on; a member that falls silent is given up."""

    def __init__(self, stub: Any, rpc: Any, revision: int, *, node: str, patience: float = PATIENCE) -> None:
        self.node = node
        self._rpc, self._patience = rpc, patience
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._replies: queue.Queue[Any] = queue.Queue(HELD)
        self._over = Event()
        self._parts: list[Any] = []  # events of a message that came in fragments so far
        self._asked = 0.0  # when the question was put that is not answered yet
        self._put = 0.0
        self._heard = time.monotonic()
        create = rpc.WatchCreateRequest(key=EVERYTHING, range_end=EVERYTHING, start_revision=revision, fragment=True)
        self._requests.put(rpc.WatchRequest(create_request=create))
        self._call = stub.Watch(iter(self._requests.get, None), metadata=NO_LEADER)
        Thread(target=self._read, daemon=True).start()

    def next(self, timeout: float) -> Told:
        """What comes within so many seconds; Compacted, or another EtcdError, when nothing will."""
        now = time.monotonic()
        # A member that is still catching up lets a question go unanswered; what is asked again counts from the first.
        if now - self._put >= (AGAIN if self._asked else ASK):
            self._put, self._asked = now, self._asked or time.time()
            self._requests.put(self._rpc.WatchRequest(progress_request=self._rpc.WatchProgressRequest()))
        try:
            reply = self._replies.get(timeout=timeout)
        except queue.Empty:
            if time.monotonic() - self._heard > self._patience:
                self.close()
                hint = "The member is frozen, or cut off from here."
                text = f"etcd said nothing for {self._patience:g} s within a watch"
                raise EtcdTimeout(text, hint=hint, node=self.node) from None
            return Told()
        self._heard = time.monotonic()
        if isinstance(reply, Exception):
            with translated(self.node, self._patience):
                raise reply
        return self._told(reply)

    def close(self) -> None:
        """End the watch, wherever it is."""
        self._over.set()
        self._requests.put(None)
        self._call.cancel()

    def _told(self, reply: Any) -> Told:
        if reply.canceled:
            if reply.compact_revision:
                text = f"the history before revision {reply.compact_revision} is compacted"
                raise Compacted(text, node=self.node)
            raise EtcdUnavailable(f"etcd ended the watch: {reply.cancel_reason}", node=self.node)
        if reply.created:
            return Told()
        if not reply.events and not reply.fragment and not self._parts:
            asked, self._asked = self._asked, 0.0
            return Told((), reply.header.revision, asked)
        self._parts.extend(reply.events)
        if reply.fragment:
            return Told()
        events, self._parts = self._parts, []
        changes = tuple(self._grouped(events))
        return Told(changes, changes[-1].revision)

    def _grouped(self, events: list[Any]) -> Iterator[Change]:
        """A message holds whole revisions, one after the other."""
        message = self._rpc.WatchResponse()
        revision = events[0].kv.mod_revision
        for event in events:
            if event.kv.mod_revision != revision:
                yield Change(revision, message.SerializeToString())
                message, revision = self._rpc.WatchResponse(), event.kv.mod_revision
            message.events.append(event)
        yield Change(revision, message.SerializeToString())

    def _read(self) -> None:
        try:
            for reply in self._call:
                self._hand(reply)
            self._hand(EtcdUnavailable("etcd ended the watch", node=self.node))
        except Exception as error:  # raised again where somebody waits for it
            self._hand(error)

    def _hand(self, reply: Any) -> None:
        while not self._over.is_set():
            try:
                self._replies.put(reply, timeout=1.0)
            except queue.Full:
                continue
            return
