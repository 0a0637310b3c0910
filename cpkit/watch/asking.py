"""Threads that ask one server over and over, on new connections or on one that is kept."""

import http.client
import ssl
import threading
import time

from cpkit.inventory import Endpoint
from cpkit.series import Recorder

TIMEOUT = 5.0


class Asker(threading.Thread):
    """Asks /livez, which a draining server still answers, and counts."""

    def __init__(self, server: Endpoint, context: ssl.SSLContext, over: threading.Event, interval: float) -> None:
        super().__init__(name=f"{type(self).__name__} of {server}", daemon=True)
        self._server, self._context, self._over, self._interval = server, context, over, interval
        self.requests = self.failed = self.away = 0
        self.longest = 0.0
        self.excused = False

    def run(self) -> None:
        """Ask until it is over."""
        first = last_success = time.monotonic()
        failing = False
        while not self._over.is_set():
            began, excused = time.monotonic(), self.excused
            works = self._ask()
            now = time.monotonic()
            self._count(now - first, now - began, works=works, excused=excused or self.excused)
            if failing or not works:
                self.longest = max(self.longest, now - last_success)
            failing = not works
            if works:
                last_success = now
            self._over.wait(max(0.0, self._interval - (now - began)))

    def _count(self, at: float, latency: float, *, works: bool, excused: bool) -> None:
        failed, away = not works and not excused, not works and excused
        self.requests += 1
        self.failed += failed
        self.away += away
        self._note(at, latency if works else None, failed=failed, away=away)

    def _note(self, at: float, latency: float | None, *, failed: bool, away: bool) -> None:
        """Told of each request."""

    def _connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._server.host, self._server.port, timeout=TIMEOUT, context=self._context)

    def _ask(self) -> bool:
        raise NotImplementedError


class NewAsker(Asker):
    """Asks on a new connection each time, and records how that goes over time."""

    def __init__(self, server: Endpoint, context: ssl.SSLContext, over: threading.Event, interval: float) -> None:
        super().__init__(server, context, over, interval)
        self.recorder = Recorder(time.time())

    def _note(self, at: float, latency: float | None, *, failed: bool, away: bool) -> None:
        self.recorder.add(at, latency, failed=failed, away=away)

    def _ask(self) -> bool:
        return asked(self._connection(), keep=False)


class KeptAsker(Asker):
    """Asks on one connection for as long as that is there.

    A server may close a connection while it is idle; as every client does, this one then asks once more on a new one.
    """

    def __init__(self, server: Endpoint, context: ssl.SSLContext, over: threading.Event, interval: float) -> None:
        super().__init__(server, context, over, interval)
        self._kept = self._connection()
        self.reopened = 0

    def run(self) -> None:
        """Ask until it is over."""
        super().run()
        self._kept.close()

    def _ask(self) -> bool:
        used = self._kept.sock is not None
        if asked(self._kept, keep=True):
            return True
        self.reopened += used
        return used and asked(self._kept, keep=True)


def asked(connection: http.client.HTTPSConnection, *, keep: bool) -> bool:
    """Whether /livez answers well on a connection, which is closed after anything else."""
    works = False
    try:
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        answer.read()
        works = answer.status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        pass
    if not (works and keep):
        connection.close()
    return works
