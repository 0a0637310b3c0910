"""Watch the API from outside while something is done to the cluster, and count what fails."""

import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from cpkit.health.quorum import plural
from cpkit.inventory import Endpoint
from cpkit.series import Series
from cpkit.watch.asking import TIMEOUT, KeptAsker, NewAsker
from cpkit.watch.following import Follower

INTERVAL = 0.1  # seconds between two requests to the endpoint
NODE_INTERVAL = 0.4  # the same for each node


@dataclass(frozen=True)
class Kept:
    """What requests on one kept connection saw, which was made anew wherever the server had closed it."""

    requests: int = 0
    failed: int = 0
    longest_gap: float = 0.0
    reopened: int = 0
    away: int = 0


@dataclass(frozen=True)
class Followed:
    """How a watch of a resource did: how often it ended, and for how long there was none."""

    events: int
    cut: int
    failed: int  # attempts that did not bring it back
    longest_gap: float


@dataclass(frozen=True)
class Direct:
    """What a node's own API server answered; one that never did may be out of reach from here, and is not judged."""

    reached: bool
    requests: int
    failed: int
    away: int  # failed as well, but in the node's own turn, while it was being restarted on purpose
    series: Series
    kept: Kept = field(default_factory=Kept)
    followed: Followed | None = None


@dataclass(frozen=True)
class Availability:
    """What a watch saw: requests on new connections to the endpoint's /livez, which a draining server still answers."""

    requests: int
    failed: int
    longest_gap: float  # seconds from the last success before a failure to the first one after it
    series: Series | None = None
    nodes: Mapping[str, Direct] = field(default_factory=dict)
    kept: Kept = field(default_factory=Kept)
    followed: Followed | None = None

    def __str__(self) -> str:
        kept = f"{self.kept.failed} of {self.kept.requests} on a kept connection"
        gap = max(self.longest_gap, self.kept.longest_gap)
        said = f"{self.failed} of {self.requests} requests failed, {kept}, longest gap {gap:.2f} s"
        if self.followed is None:
            return said
        again = f", for {self.followed.longest_gap:.2f} s at most" if self.followed.cut else ""
        return f"{said}; a watch was cut {self.followed.cut} {plural('time', self.followed.cut)}{again}"


class Watch:
    """Asks the endpoint, and each node it is given, over and over, from `start` to `stop`.

    With what an administrator trusts and shows, it follows a resource as well; health paths need nobody's leave.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        authority: str,
        nodes: Mapping[str, Endpoint] | None = None,
        administrator: ssl.SSLContext | None = None,
    ) -> None:
        self._context, self._administrator = ssl.create_default_context(cadata=authority), administrator
        self._over = threading.Event()
        self._endpoint = self._seen_at(endpoint, INTERVAL)
        self._nodes = {name: self._seen_at(each, NODE_INTERVAL) for name, each in (nodes or {}).items()}

    def start(self) -> "Watch":
        """Begin to ask."""
        for server in (self._endpoint, *self._nodes.values()):
            for thread in server.threads:
                thread.start()
        return self

    def touching(self, node: str) -> None:
        """From now on this node is restarted on purpose, and no other one; "" for none."""
        for name, server in self._nodes.items():
            server.new.excused = server.kept.excused = name == node

    @property
    def failed(self) -> int:
        """How many requests to the endpoint have failed so far."""
        return self._endpoint.new.failed + self._endpoint.kept.failed

    def stop(self) -> Availability:
        """Stop asking, and say what was seen."""
        self._over.set()
        servers = (self._endpoint, *self._nodes.values())
        for server in servers:
            if server.follower:
                server.follower.release()
        for server in servers:
            for thread in server.threads:
                thread.join(TIMEOUT * 2)
        seen = self._endpoint
        nodes = {name: server.direct() for name, server in self._nodes.items()}
        new = seen.new
        series = new.recorder.series()
        return Availability(new.requests, new.failed, new.longest, series, nodes, seen.held(), seen.followed())

    def _seen_at(self, server: Endpoint, interval: float) -> "_Server":
        follower = Follower(server, self._administrator, self._over) if self._administrator else None
        new = NewAsker(server, self._context, self._over, interval)
        return _Server(new, KeptAsker(server, self._context, self._over, interval), follower)


@dataclass(frozen=True)
class _Server:
    """All that looks at one server."""

    new: NewAsker
    kept: KeptAsker
    follower: Follower | None

    @property
    def threads(self) -> tuple[threading.Thread, ...]:
        return (self.new, self.kept, *([self.follower] if self.follower else []))

    def direct(self) -> Direct:
        """What was seen, of a node."""
        new = self.new
        reached = new.requests > new.failed + new.away
        series = new.recorder.series()
        return Direct(reached, new.requests, new.failed, new.away, series, self.held(), self.followed())

    def held(self) -> Kept:
        """What was seen on the connection that was kept."""
        kept = self.kept
        return Kept(kept.requests, kept.failed, kept.longest, kept.reopened, kept.away)

    def followed(self) -> Followed | None:
        """How the watch did, where there was one."""
        each = self.follower
        return Followed(each.events, each.cut, each.failed, each.longest) if each else None
