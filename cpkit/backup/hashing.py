"""Hashes of a member, asked beside following it: for a large database one takes seconds."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

from cpkit import etcd
from cpkit.backup.manifest import Hash

SHARE = 20  # of the time at most one in so many is spent on hashing, by a member
CALL = 30.0


class Hashing:
    """One hash at a time; what a member cannot tell is left out, for a later one proves as much."""

    def __init__(self, client: etcd.MemberClient, found: Callable[[Hash], None]) -> None:
        self._client, self._found = client, found
        self._pool = ThreadPoolExecutor(1)
        self._asked: Future[Hash] | None = None
        self._next = 0.0  # when the next one may be asked for

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ask(self, revision: int) -> None:
        """Have a revision hashed if it is time for that, and tell what was found of an earlier one."""
        self._told(wait=False)
        if self._asked is None and time.monotonic() >= self._next:
            self._asked = self._pool.submit(self._hash, revision)

    def last(self, revision: int) -> None:
        """Have a revision hashed now, and wait for it."""
        self._told(wait=True)
        self._asked = self._pool.submit(self._hash, revision)
        self._told(wait=True)

    def _hash(self, revision: int) -> Hash:
        began = time.monotonic()
        said = self._client.hash_kv(revision, timeout=CALL)
        self._next = time.monotonic() + SHARE * (time.monotonic() - began)
        return Hash(self._client.node, said.hash, said.revision, said.compact_revision)

    def _told(self, *, wait: bool) -> None:
        if self._asked is None or not (wait or self._asked.done()):
            return
        with suppress(etcd.EtcdError):  # compacted meanwhile, or a member that fails: following tells of that
            self._found(self._asked.result())
        self._asked = None
