"""The two directions of an S3 store: an upload in parts, and the body of an answer."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Protocol

from cpkit.backup.errors import StoreError

UNDER_WAY = 2  # parts on their way while the next one fills
Part = dict[str, Any]


class Bucket(Protocol):
    """What an upload asks of its store."""

    def put_part(self, key: str, handle: str, number: int, data: bytes) -> Part:
        """Send a part of an upload."""

    def complete(self, key: str, handle: str, parts: Sequence[Part], name: str) -> None:
        """Make one object of the parts, under a name."""


class Wording(Protocol):
    """What the body of an answer asks of its store."""

    def words(self) -> AbstractContextManager[None]:
        """Turns the client's errors into words."""


class Parts:
    """Cuts what is written into parts and sends them."""

    def __init__(self, store: Bucket, key: str, handle: str, size: int, pool: ThreadPoolExecutor) -> None:
        self.committed = False
        self._store, self._key, self._handle, self._size, self._pool = store, key, handle, size, pool
        self._buffer = bytearray()
        self._sent: list[Future[Part]] = []

    def write(self, data: bytes, /) -> None:
        """The next part of it."""
        self._buffer += data
        if len(self._buffer) >= self._size:
            self._send()

    def commit(self, name: str) -> None:
        """Put it in place under its name."""
        if self._buffer or not self._sent:
            self._send()
        parts = [sent.result() for sent in self._sent]
        self._store.complete(self._key, self._handle, parts, name)
        self.committed = True

    def _send(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        if len(self._sent) >= UNDER_WAY:
            self._sent[-UNDER_WAY].result()  # what is on its way is in memory
        number = len(self._sent) + 1
        self._sent.append(self._pool.submit(self._store.put_part, self._key, self._handle, number, data))


class Body:
    """The body of an answer, its failures in words."""

    def __init__(self, store: Wording, body: Any) -> None:
        self._store, self._body = store, body

    def read(self, size: int = 1 << 16, /) -> bytes:
        """At most so many bytes."""
        from urllib3.exceptions import HTTPError

        try:
            with self._store.words():
                return bytes(self._body.read(size))
        except HTTPError as error:
            raise StoreError(f"{self._store} broke off: {error}") from error
