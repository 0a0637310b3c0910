"""Connections that outlive one use of them, for work that goes to the same nodes several times."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from cpkit.ssh.connection import Connection, connect

if TYPE_CHECKING:
    from cpkit.inventory import Node


class Connect(Protocol):
    """A way to a node, for as long as the context lasts."""

    def __call__(self, node: "Node", *, timeout: float) -> AbstractContextManager[Connection]:
        """A connection to the node; Unreachable when there is none within so many seconds."""


@contextmanager
def kept() -> Iterator[Connect]:
    """A way to nodes that stays open between two uses, until the context ends."""
    connections = _Kept()
    try:
        yield connections.connect
    finally:
        connections.close()


class _Kept:
    """Connections by node, each for one user at a time; one that something went wrong with is not used again."""

    def __init__(self) -> None:
        self._idle: dict[str, Connection] = {}
        self._lock = threading.Lock()
        self._over = False

    @contextmanager
    def connect(self, node: "Node", *, timeout: float) -> Iterator[Connection]:
        """The connection that was kept to a node, or a new one."""
        with self._lock:
            connection = self._idle.pop(node.name, None)
        if connection is None or not connection.alive:
            connection = connect(node, timeout=timeout)
        well = False
        try:
            yield connection
            well = connection.alive
        finally:
            if not (well and self._keep(connection)):
                connection.close()

    def _keep(self, connection: Connection) -> bool:
        with self._lock:
            if self._over or connection.node.name in self._idle:
                return False
            self._idle[connection.node.name] = connection
            return True

    def close(self) -> None:
        """End them all; one that is in use ends with its use."""
        with self._lock:
            self._over, idle = True, [*self._idle.values()]
            self._idle.clear()
        for connection in idle:
            connection.close()
