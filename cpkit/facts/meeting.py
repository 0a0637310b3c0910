"""Where the readers of all members agree on the one revision to hash."""

from collections.abc import Iterable
from threading import Condition
from time import monotonic


class Meeting:
    """Every reader brings its member's revision, or None; all get the lowest one brought, decided once."""

    def __init__(self, members: Iterable[str], patience: float) -> None:
        self._awaited = set(members)
        self._patience = patience
        self._brought: list[int] = []
        self._decided: int | None = None
        self._changed = Condition()

    def bring(self, member: str, revision: int | None) -> None:
        """Say a member's revision, None when it could not be asked; only the first word of a member counts."""
        with self._changed:
            if member in self._awaited and revision is not None:
                self._brought.append(revision)
            self._awaited.discard(member)
            self._changed.notify_all()

    def agree(self) -> int | None:
        """The lowest revision of those who came in time; late ones must take what was decided without them."""
        end = monotonic() + self._patience
        with self._changed:
            while self._decided is None and self._awaited and (left := end - monotonic()) > 0:
                self._changed.wait(left)
            if self._decided is None and self._brought:
                self._decided = min(self._brought)
            return self._decided
