"""How far a stream has come."""

import time

from cpkit.operations.listener import Listener


class Meter:
    """Says how far a stream has come, and how fast, some times a second."""

    def __init__(self, listener: Listener, total: int, every: float = 0.25) -> None:
        self._listener, self._total, self._every = listener, total, every
        self._began = self._told = time.monotonic()

    def advance(self, done: int) -> None:
        """So many bytes have passed."""
        now = time.monotonic()
        if now - self._told >= self._every:
            self._told = now
            rate = done / (now - self._began)
            self._listener.status(f"{done / 1e6:.0f} of {self._total / 1e6:.0f} MB, {rate / 1e6:.0f} MB/s")
