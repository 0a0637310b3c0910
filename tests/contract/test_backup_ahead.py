"""A stream whose next piece is made in another thread."""

import threading
from collections.abc import Generator

import pytest

from cpkit.backup.ahead import PIECES, ahead

WAIT = 20.0


class Source:
    """Numbered pieces; it knows how far it was asked, in which thread, and whether it was closed."""

    def __init__(self, count: int, *, breaks: BaseException | None = None) -> None:
        self.made = 0
        self.threads: set[int] = set()
        self.closed = threading.Event()
        self._count, self._breaks = count, breaks

    def pieces(self) -> Generator[bytes, None, None]:
        try:
            for number in range(self._count):
                self.made += 1
                self.threads.add(threading.get_ident())
                yield str(number).encode()
            if self._breaks:
                raise self._breaks
        finally:
            self.closed.set()


def test_all_pieces_come_in_order_from_another_thread() -> None:
    source = Source(50)
    with ahead(source.pieces()) as pieces:
        assert list(pieces) == [str(number).encode() for number in range(50)]
    assert source.threads.isdisjoint({threading.get_ident()})
    assert source.closed.is_set()


def test_it_is_only_a_little_ahead() -> None:
    source = Source(1000)
    with ahead(source.pieces()) as pieces:
        for number, _ in zip(range(10), pieces, strict=False):
            assert source.made <= number + 1 + PIECES + 2
    assert source.made < 20


@pytest.mark.parametrize("trouble", [ZeroDivisionError, KeyboardInterrupt])
def test_what_the_source_raises_is_raised_after_what_it_has_made(trouble: type[BaseException]) -> None:
    seen: list[bytes] = []
    with ahead(Source(3, breaks=trouble()).pieces()) as pieces, pytest.raises(trouble):
        seen.extend(pieces)
    assert seen == [b"0", b"1", b"2"]


def test_a_source_that_nobody_wants_any_more_is_closed() -> None:
    source = Source(10**9)
    with ahead(source.pieces()) as pieces:
        assert next(pieces) == b"0"
    assert source.closed.is_set()
    assert source.made < 20


def test_a_source_that_hangs_holds_the_end_up_no_longer_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpkit.backup.ahead.LAST", 0.1)
    release = threading.Event()

    def hanging() -> Generator[bytes, None, None]:
        yield b"first"
        release.wait(WAIT)

    with ahead(hanging()) as pieces:
        assert next(pieces) == b"first"
    assert not release.is_set()
    release.set()
