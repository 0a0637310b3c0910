"""A thread that follows a resource, as a controller does, and takes its watch up again whenever that ends."""

import http.client
import socket
import ssl
import threading
import time
from contextlib import suppress
from http import HTTPStatus

from cpkit.inventory import Endpoint

# Every API server and controller renews its lease there, so a watch that hears nothing for long is dead.
WATCHED = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?watch=1"
QUIET = 15.0  # seconds
AGAIN = 0.05  # seconds between two attempts
COME_BACK = 1.0  # seconds to wait where a server that ends says so


class Follower(threading.Thread):
    """Follows until it is over; `cut` counts the ends of a watch, `failed` what did not bring it back."""

    def __init__(self, server: Endpoint, context: ssl.SSLContext, over: threading.Event) -> None:
        super().__init__(name=f"watch of {server}", daemon=True)
        self._server, self._context, self._over = server, context, over
        self._sock: socket.socket | None = None
        self._follows = False
        self._lost = 0.0  # since when there is no watch any longer; 0 while there is one, and before the first
        self.events = self.cut = self.failed = 0
        self.longest = 0.0

    def run(self) -> None:
        """Follow, and begin again at each end."""
        while not self._over.is_set():
            connection = http.client.HTTPSConnection(
                self._server.host, self._server.port, timeout=QUIET, context=self._context
            )
            try:
                self._over.wait(self._follow(connection))
            except (OSError, http.client.HTTPException):
                self._ended()
                self._over.wait(AGAIN)
            finally:
                self._sock = None
                connection.close()
        self._measure()

    def release(self) -> None:
        """Wake it, once it is over."""
        if sock := self._sock:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, whose state is the reader's

    def _follow(self, connection: http.client.HTTPSConnection) -> float:
        """Follow to the end of one watch; the seconds to wait before the next."""
        connection.request("GET", WATCHED)
        self._sock = connection.sock
        answer = connection.getresponse()
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return COME_BACK
        if answer.status != HTTPStatus.OK:
            self.failed += 1
            return AGAIN
        self._measure()
        self._follows, self._lost = True, 0.0
        while answer.readline():
            self.events += 1
        self._ended()
        return AGAIN

    def _ended(self) -> None:
        if self._over.is_set():
            return
        if self._follows:
            self.cut += 1
            self._follows, self._lost = False, time.monotonic()
        else:
            self.failed += 1

    def _measure(self) -> None:
        if self._lost:
            self.longest = max(self.longest, time.monotonic() - self._lost)
