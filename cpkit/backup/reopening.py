"""A store that is opened again when it was away."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from cpkit.backup.errors import StoreError
from cpkit.backup.stores import Store
from cpkit.errors import Unreachable

PATIENCE = 900.0  # seconds a store may be away
LAST = 5.0  # seconds for it when the user waits for the end
AGAIN = 1.0

Opening = Callable[[], AbstractContextManager[Store]]


@dataclass
class Reopening:
    """Calls to a store, each of which may be made twice."""

    opening: Opening
    say: Callable[[str], None]
    ending: Callable[[], bool]
    held: AbstractContextManager[Store] | None = None
    store: Store | None = None

    def do(self, call: Callable[[Store], None]) -> None:
        """Make a call, again and again while the store is away; it raises what is still wrong at the end."""
        began, told = time.monotonic(), ""
        while True:
            try:
                if self.store is None:
                    self.held = self.opening()
                    self.store = self.held.__enter__()
                call(self.store)
            except (StoreError, Unreachable) as error:  # an SFTP server that is away is a machine that does not answer
                self.close()
                if time.monotonic() - began > (LAST if self.ending() else PATIENCE):
                    raise StoreError(str(error), hint=error.hint) from error
                if error.message != told:
                    told = error.message
                    self.say(f"the store fails, and is tried again: {told}")
                time.sleep(AGAIN)
            else:
                if told:
                    self.say(f"the store is back after {time.monotonic() - began:.0f} s")
                return

    def close(self) -> None:
        """Let go of it."""
        held, self.held, self.store = self.held, None, None
        if held:
            try:
                held.__exit__(None, None, None)
            except StoreError:
                return
