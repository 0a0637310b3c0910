"""Watch the API from outside while something is done to the cluster, and count what fails."""

import http.client
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from cpkit.inventory import Endpoint
from cpkit.series import Recorder, Series

INTERVAL = 0.1  # seconds between two requests to the endpoint
NODE_INTERVAL = 0.4  # the same for each node
TIMEOUT = 5.0


@dataclass(frozen=True)
class Direct:
    """What a node's own API server answered; one that never did may be out of reach from here, and is not judged."""

    reached: bool
    requests: int
    failed: int
    away: int  # failed as well, but in the node's own turn, while it was being restarted on purpose
    series: Series


@dataclass(frozen=True)
class Availability:
    """What a watch saw: requests on new connections to the endpoint's /livez, which a draining server still answers."""

    requests: int
    failed: int
    longest_gap: float  # seconds from the last success before a failure to the first one after it
    series: Series | None = None
    nodes: Mapping[str, Direct] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.failed} of {self.requests} requests failed, longest gap {self.longest_gap:.2f} s"


class Watch:
    """Asks the endpoint, and each node it is given, over and over, from `start` to `stop`."""

    def __init__(self, endpoint: Endpoint, authority: str, nodes: Mapping[str, Endpoint] | None = None) -> None:
        context = ssl.create_default_context(cadata=authority)
        self._over = threading.Event()
        self._endpoint = _Asker(endpoint, context, self._over, INTERVAL)
        self._nodes = {name: _Asker(each, context, self._over, NODE_INTERVAL) for name, each in (nodes or {}).items()}

    def start(self) -> "Watch":
        """Begin to ask."""
        for asker in (self._endpoint, *self._nodes.values()):
            asker.start()
        return self

    def touching(self, node: str) -> None:
        """From now on this node is restarted on purpose, and no other one; "" for none."""
        for name, asker in self._nodes.items():
            asker.excused = name == node

    @property
    def failed(self) -> int:
        """How many requests to the endpoint have failed so far."""
        return self._endpoint.failed

    def stop(self) -> Availability:
        """Stop asking, and say what was seen."""
        self._over.set()
        for asker in (self._endpoint, *self._nodes.values()):
            asker.join(TIMEOUT * 2)
        seen = self._endpoint
        nodes = {name: asker.direct() for name, asker in self._nodes.items()}
        return Availability(seen.requests, seen.failed, seen.longest, seen.recorder.series(), nodes)


class _Asker(threading.Thread):
    """Asks one server in a thread of its own."""

    def __init__(self, server: Endpoint, context: ssl.SSLContext, over: threading.Event, interval: float) -> None:
        super().__init__(name=f"availability of {server}", daemon=True)
        self._server, self._context, self._over, self._interval = server, context, over, interval
        self.recorder = Recorder(time.time())
        self.requests = self.failed = self.away = 0
        self.longest = 0.0
        self.excused = False

    def direct(self) -> Direct:
        """What was seen, of a node."""
        reached = self.requests > self.failed + self.away
        return Direct(reached, self.requests, self.failed, self.away, self.recorder.series())

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
        self.recorder.add(at, latency if works else None, failed=failed, away=away)

    def _ask(self) -> bool:
        connection = http.client.HTTPSConnection(
            self._server.host, self._server.port, timeout=TIMEOUT, context=self._context
        )
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
