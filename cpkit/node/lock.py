"""A lock of all nodes for what they do by themselves: a key of etcd that lives as long as its holder's lease.

The revision at which the key was made is the fencing token. What is written to etcd under the lock is written by a
transaction that compares it, so a holder that has lost the lock, and may not know it yet, writes nothing any more.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from cpkit.errors import CpkitError
from cpkit.node.gateway import Gateway, encoded

POLL = 1.0  # seconds between two looks at a lock that another holds


class LockLost(CpkitError):
    """Another node may hold the lock by now, so nothing is published."""


@dataclass
class Lock:
    """The lock, held."""

    etcd: Gateway
    key: bytes
    lease: str
    seconds: int
    token: int
    valid: float  # until when it is held for certain, by this node's monotonic clock
    over: threading.Event = field(default_factory=threading.Event)

    def refuse_lost(self) -> None:
        """LockLost when the lease may have ended."""
        if time.monotonic() >= self.valid:
            raise LockLost("the lock was lost: etcd did not renew its lease in time", node=self.etcd.node)

    def put(self, key: bytes, data: bytes) -> None:
        """Write a key, provided that the lock is still held; LockLost when it is not."""
        held = {"key": encoded(self.key), "target": "CREATE", "result": "EQUAL", "create_revision": str(self.token)}
        put = {"request_put": {"key": encoded(key), "value": encoded(data)}}
        if not self.etcd.call("kv/txn", {"compare": [held], "success": [put]}).get("succeeded"):
            raise LockLost("the lock was lost: another node may be at work", node=self.etcd.node)

    def renew(self) -> None:
        """Keep the lease alive until the lock is given back; a moment without etcd is borne."""
        while not self.over.wait(self.seconds / 3):
            asked = time.monotonic()
            with suppress(CpkitError):
                told = self.etcd.call("lease/keepalive", {"ID": self.lease})
                if int(told.get("result", {}).get("TTL", 0)) > 0:
                    self.valid = asked + self.seconds


@contextmanager
def held(etcd: Gateway, key: bytes, seconds: int, waiting: Callable[[str], None]) -> Iterator[Lock]:
    """Hold the lock; waits while another node does, and tells once which."""
    lock = _acquired(etcd, key, seconds, waiting)
    thread = threading.Thread(target=lock.renew, daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        lock.over.set()
        thread.join()
        with suppress(CpkitError):  # it ends by itself
            etcd.call("lease/revoke", {"ID": lock.lease})


def _acquired(etcd: Gateway, key: bytes, seconds: int, waiting: Callable[[str], None]) -> Lock:
    told = False
    while True:
        asked = time.monotonic()
        lease = str(etcd.call("lease/grant", {"TTL": str(seconds)})["ID"])
        answer = etcd.call("kv/txn", _taking(key, lease, etcd.node))
        if answer.get("succeeded"):
            return Lock(etcd, key, lease, seconds, int(answer["header"]["revision"]), asked + seconds)
        etcd.call("lease/revoke", {"ID": lease})
        while holder := etcd.get(key):
            if not told:
                waiting(holder.data.decode("utf-8", "replace"))
            told = True
            time.sleep(POLL)


def _taking(key: bytes, lease: str, node: str) -> dict[str, object]:
    absent = {"key": encoded(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
    put = {"request_put": {"key": encoded(key), "value": encoded(node.encode()), "lease": lease}}
    return {"compare": [absent], "success": [put]}
