"""A stream whose next piece is made in a thread of its own, while this one works on the piece before."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from queue import Full, Queue
from threading import Thread

PIECES = 2  # that may wait
PAUSE = 0.2  # seconds between two looks at whether anybody still wants the next piece
LAST = 5.0  # seconds that the source may take to end, when nobody does


class _Ahead:
    def __init__(self, source: Generator[bytes, None, None]) -> None:
        self._source = source
        self._pieces: Queue[bytes | None] = Queue(PIECES)
        self._failed: BaseException | None = None
        self._over = False
        self._thread = Thread(target=self._make, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._pieces.get()) is not None:
            yield piece
        if self._failed is not None:
            raise self._failed

    def end(self) -> None:
        """Want no more: the source is closed, by the thread that runs it."""
        self._over = True
        self._thread.join(LAST)

    def _make(self) -> None:
        try:
            with closing(self._source) as pieces:
                for piece in pieces:
                    if not self._hand_over(piece):
                        return
        except BaseException as error:
            self._failed = error
        self._hand_over(None)

    def _hand_over(self, piece: bytes | None) -> bool:
        while not self._over:
            try:
                self._pieces.put(piece, timeout=PAUSE)
            except Full:
                continue
            return True
        return False


@contextmanager
def ahead(source: Generator[bytes, None, None]) -> Iterator[Iterator[bytes]]:
    """The pieces of a source, which is a little ahead; it ends with the context, wherever it is.

    What the source raises is raised where its next piece is asked for.
    """
    made = _Ahead(source)
    try:
        yield iter(made)
    finally:
        made.end()
