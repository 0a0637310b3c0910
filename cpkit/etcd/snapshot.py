"""A member's database on its way here."""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cpkit.etcd.errors import EtcdRefused, EtcdTimeout

if TYPE_CHECKING:
    from cpkit.etcd.pull import Place

METHOD = "etcdserverpb.Maintenance/Snapshot"
TRAILER = 32  # bytes at the end: the SHA-256 of everything before them
PATIENCE = 15.0  # seconds without a byte until the member is given up


class Snapshot:
    """The database in chunks, once; it ends well only if its SHA-256 trailer is right."""

    def __init__(self, place: "Place", *, node: str, timeout: float, patience: float) -> None:
        from cpkit.etcd import pull, rpc

        self.node = node
        self._timeout, self._patience = timeout, patience
        self._read: Any = rpc.etcdrpc.SnapshotResponse.FromString
        self._pull = pull.Pull(place, METHOD, timeout=timeout, patience=patience)
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
        self._pull.close()

    def _next(self) -> Any:
        from cpkit.etcd.pull import Ended, Stalled

        try:
            message = next(self._pull, None)
        except Stalled as error:
            self.close()
            hint = "The member is frozen, or cut off from here. What had arrived is thrown away."
            text = f"etcd sent nothing for {self._patience:g} s within its snapshot"
            raise EtcdTimeout(text, hint=hint, node=self.node) from error
        except Ended as error:
            from cpkit.etcd import channel

            self.close()
            raise channel.translate(error, node=self.node, timeout=self._timeout) from error
        return None if message is None else self._read(message)
