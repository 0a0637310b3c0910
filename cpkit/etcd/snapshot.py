"""A member's database on its way here."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import Any

from cpkit.etcd.errors import EtcdRefused, EtcdTimeout

TRAILER = 32  # bytes at the end: the SHA-256 of everything before them
PATIENCE = 15.0  # seconds without a byte until the member is given up


@contextmanager
def translated(node: str, timeout: float) -> Iterator[None]:
    """Turns gRPC's errors into words."""
    from cpkit.etcd import channel

    try:
        yield
    except (channel.RpcError, ValueError) as error:
        raise channel.translate(error, node=node, timeout=timeout) from error


class Snapshot:
    """The database in chunks, once; it ends well only if its SHA-256 trailer is right."""

    def __init__(self, call: Any, *, node: str, timeout: float, patience: float) -> None:
        self.node = node
        self._call, self._timeout, self._patience = call, timeout, patience
        self._asked = 0.0  # since when a message is awaited; 0 while none is
        self._gave_up = False
        self._over = Event()
        Thread(target=self._watch, daemon=True).start()
        self._first = self._next()
        self.storage_version: str = self._first.version if self._first else ""  # empty before etcd 3.6
        left = self._first.remaining_bytes + len(self._first.blob) if self._first else 0
        self.size: int = left + TRAILER  # with the trailer, which the member does not count

    def __iter__(self) -> Iterator[bytes]:
        digest, seen, trailer = hashlib.sha256(), 0, b""
        for blob in self.unproven():
            inside = max(0, min(len(blob), self.size - TRAILER - seen))
            seen += len(blob)
            digest.update(blob if inside == len(blob) else blob[:inside])
            trailer += blob[inside:]
            yield blob
        if trailer != digest.digest():
            raise EtcdRefused("the snapshot arrived damaged: its SHA-256 is not the one etcd sent", node=self.node)

    def unproven(self) -> Iterator[bytes]:
        """The chunks, for a caller that checks the trailer itself."""
        try:
            reply = self._first
            while reply is not None:
                yield reply.blob
                reply = self._next()
        finally:
            self.close()

    def close(self) -> None:
        """End the stream, wherever it is."""
        self._over.set()
        self._call.cancel()

    def _next(self) -> Any:
        self._asked = monotonic()
        try:
            with translated(self.node, self._timeout):
                return next(self._call, None)
        except Exception as error:
            self.close()
            if self._gave_up:
                hint = "The member is frozen, or cut off from here. What had arrived is thrown away."
                raise EtcdTimeout(
                    f"etcd sent nothing for {self._patience:g} s within its snapshot", hint=hint, node=self.node
                ) from error
            raise
        finally:
            self._asked = 0.0

    def _watch(self) -> None:
        """A frozen member would hold its stream open for ever; only the time spent waiting for it counts."""
        while not self._over.wait(min(1.0, self._patience / 4)):
            asked = self._asked
            if asked and monotonic() - asked > self._patience:
                self._gave_up = True
                self._call.cancel()
                return
