"""Write every object anew that is stored under another key, many at once, by the transaction API servers write with.

A value is put only in place of the very one that was read, and what it holds stays the same, so a concurrent writer
loses nothing, nobody's admission is asked, and what is written already costs nothing. Each object has a revision of its
own, for that is what the API's watchers count on. Content is opened in this process's memory alone, where the keys are.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from cpkit.errors import CpkitError
from cpkit.etcd import Row
from cpkit.facts.encryption import PAGE, Rows, encrypted_with, stored
from cpkit.operations.patching import NOTHING_LOST, api_path
from cpkit.pki.envelope import Resealer

AT_ONCE = 64
ATTEMPTS = 12


class Member(Rows, Protocol):
    """What can also replace raw values."""

    def replace(self, wanted: Iterable[tuple[Row, bytes]], *, at_once: int = 1) -> Iterator[tuple[Row, int]]:
        """Put values in place of those that were read; 0 instead of a revision where one had changed."""


class Patcher(Protocol):
    """What can have an API server write objects anew."""

    def patch(self, paths: Iterable[str]) -> Iterator[None]:
        """One after another, by its path in the API."""


class Report(Protocol):
    """Who is told how far it has come."""

    def status(self, text: str) -> None:
        """What is being done now."""


@dataclass
class Rewriter:
    """What is rewritten, and how far it has come."""

    resealer: Resealer
    patcher: Patcher  # for what none of the keys opens: the API server reads that, and writes it with the new one
    unreadable: Callable[[str], str]  # why a path of the API cannot be read from every API server; "" when it can
    report: Report
    total: int
    written: int = 0
    _tried_out: bool = False
    _began: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """Objects a second so far."""
        return self.written / max(time.monotonic() - self._began, 0.001)

    def rewrite(self, member: Member, resource: str) -> None:
        """Every object of a resource that is not under the new key yet; page after page, so memory is bounded."""
        for row, revision in member.replace(self._sealed(member, resource), at_once=AT_ONCE):
            if revision:
                self._count()
            else:
                self._one(member, row)

    def _sealed(self, member: Member, resource: str) -> Iterator[tuple[Row, bytes]]:
        for page in stored(member, resource):
            foreign = []
            for row in page:
                if encrypted_with(row.value) == self.resealer.new:
                    continue
                if (value := self.resealer.reseal(row.value)) is None:
                    foreign.append(api_path(resource, row.key))
                elif self._tried_out:
                    yield row, value
                else:
                    self._try_out(member, resource, row)
            for _ in self.patcher.patch(foreign):
                self._count()

    def _try_out(self, member: Member, resource: str, row: Row) -> None:
        """The first object, read from every API server before any other is sealed, and put back if one cannot."""
        written = self._one(member, row)
        if written is None:  # by somebody else; the next one is tried
            return
        before, revision = written
        where = api_path(resource, row.key)
        if why := self.unreadable(where):
            back = _replaced(member, replace(before, mod_revision=revision), before.value)
            then = "It was put back." if back else "Somebody has written it since, so it was left as it is now."
            hint = f"{then} Look: cpkit encryption status"
            raise CpkitError(f"{where} was written with the new key, and {why}", hint=hint)
        self._tried_out, self._began = True, time.monotonic()

    def _one(self, member: Member, row: Row) -> tuple[Row, int] | None:
        """As somebody else has it now, again and again while that changes: what it was, and the revision of our write.

        None when there was nothing to write: it is gone, or an API server has written it with the new key.
        """
        for _ in range(ATTEMPTS):
            now = next(iter(member.rows(row.key, row.key + b"\0", revision=0, limit=1)), None)
            value = self.resealer.reseal(now.value) if now and encrypted_with(now.value) != self.resealer.new else None
            if now is None or value is None:
                return None
            if revision := _replaced(member, now, value):
                self._count()
                return now, revision
        raise CpkitError(f"{row.key.decode()} is changed too often to be rewritten", hint=NOTHING_LOST)

    def _count(self) -> None:
        self.written += 1
        if self.written % PAGE == 0 or self.written == self.total:
            self.report.status(f"{self.written} of {self.total} objects, {self.rate:.0f}/s")


def _replaced(member: Member, row: Row, value: bytes) -> int:
    """The revision of the value in place of the one of a row; 0 when that one is not there any longer."""
    return next(revision for _, revision in member.replace([(row, value)]))
