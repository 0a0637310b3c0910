"""Small file-like ends between which a backup flows; each remembers what went wrong on its side."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

Advance = Callable[[int], None]
# Hashing and writing let go of the interpreter, and get it back only when the thread that feeds them lets go of it in
# turn: done in small pieces, a stream spends more time on waiting than on work.
BLOCK = 1 << 20


class Readable(Protocol):
    """Something to read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


class Writable(Protocol):
    """Something to write to."""

    def write(self, data: bytes, /) -> object:
        """All of the data."""


class Pulled:
    """Reads what an iterator yields."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.error: BaseException | None = None

    def read(self, size: int = 1 << 16, /) -> bytes:
        """At most so many bytes; none at the end."""
        while not self._rest:
            try:
                chunk = next(self._chunks, None)
            except BaseException as error:
                self.error = error  # age's library tells its text alone
                raise
            if chunk is None:
                return b""
            if 0 < len(chunk) <= size:
                return chunk  # as it is: copying all of a database takes its time
            self._rest = memoryview(chunk)
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)


class Passed:
    """Passes bytes on in either direction; what is written goes on in larger pieces."""

    def __init__(
        self,
        *,
        source: Readable | None = None,
        target: Writable | None = None,
        block: int = BLOCK,
    ) -> None:
        self._source, self._target, self._block = source, target, block
        self._ready = memoryview(b"")  # read ahead, for a library that reads in small pieces
        self._held: list[bytes] = []
        self._holding = 0
        self.error: BaseException | None = None

    def read(self, size: int = 1 << 16, /) -> bytes:
        """At most so many bytes of the source."""
        assert self._source is not None  # noqa: S101 - one that writes is never read
        if not self._ready:
            with self._remembered():
                data = self._source.read(max(size, self._block))
                self._count(data)
                if len(data) <= size:
                    return data
                self._ready = memoryview(data)
        piece, self._ready = self._ready[:size], self._ready[size:]
        return bytes(piece)

    def write(self, data: bytes, /) -> int:
        """All of the data, to the target; some of it when there is more."""
        with self._remembered():
            self._held.append(data)
            self._holding += len(data)
            if self._holding >= self._block:
                self.settle()
            return len(data)

    def settle(self) -> None:
        """What is held back, to the target."""
        assert self._target is not None  # noqa: S101 - one that reads is never written
        with self._remembered():
            data, self._held, self._holding = b"".join(self._held), [], 0
            self._count(data)
            self._target.write(data)

    def flush(self) -> None:
        """Said by libraries at their end."""
        self.settle()

    @contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.error = self.error or error  # what follows is its consequence
            raise

    def _count(self, data: bytes) -> None:
        """Told of all that passes."""


class Counted(Passed):
    """Passes bytes on in either direction, and keeps their number and their SHA-256."""

    def __init__(
        self,
        *,
        source: Readable | None = None,
        target: Writable | None = None,
        advance: Advance,
        block: int = BLOCK,
    ) -> None:
        super().__init__(source=source, target=target, block=block)
        self._advance = advance
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The digest of all that passed."""
        return self._digest.hexdigest()

    def _count(self, data: bytes) -> None:
        self._digest.update(data)
        self.size += len(data)
        self._advance(self.size)


def chunks(source: Readable, size: int = BLOCK) -> Iterator[bytes]:
    """What is left to read, piece by piece."""
    while data := source.read(size):
        yield data


def gathered(pieces: Iterable[bytes], size: int = BLOCK) -> Iterator[bytes]:
    """The same bytes in larger pieces."""
    held: list[bytes] = []
    holding = 0
    for piece in pieces:
        held.append(piece)
        holding += len(piece)
        if holding >= size:
            yield b"".join(held)
            held, holding = [], 0
    if held:
        yield b"".join(held)
