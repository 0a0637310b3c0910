"""Have every object that is stored under another key written anew, many at once, without reading what it holds.

An empty patch changes nothing, but the API server writes what is encrypted with another key than the first. So no
Secret leaves the cluster, a concurrent writer loses nothing, and what is written already costs nothing.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPSConnection
from ssl import SSLContext
from urllib.parse import quote

from cpkit.errors import CpkitError
from cpkit.facts.encryption import Rows, stored
from cpkit.inventory import Endpoint
from cpkit.operations.listener import Listener

WORKERS = 8
ATTEMPTS = 12
PATIENCE = 20.0
AGAIN = {409, 429, 500, 502, 503, 504}
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


@dataclass
class Rewriter:
    """Connections to the API, one a thread."""

    endpoint: Endpoint
    context: SSLContext
    listener: Listener
    total: int
    written: int = 0
    retried: int = 0
    gone: int = 0
    _began: float = field(default_factory=time.monotonic)
    _local: threading.local = field(default_factory=threading.local)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def rate(self) -> float:
        """Objects a second so far."""
        return self.written / max(time.monotonic() - self._began, 0.001)

    def rewrite(self, member: Rows, resource: str, key: str) -> None:
        """Every object of a resource that is not under the key yet; page after page, so memory is bounded."""
        with ThreadPoolExecutor(WORKERS) as pool:
            for page in stored(member, resource):
                stale = (name for name, held in page if held != key)
                for _ in pool.map(lambda name: self._one(path(resource, name)), stale):
                    pass
                self.listener.status(f"{self.written} of {self.total} objects, {self.rate:.0f}/s")

    def _one(self, where: str) -> None:
        for attempt in self._attempts():
            status = self._patch(where)
            with self._lock:
                self.written += status == 200
                self.gone += status == 404
                self.retried += attempt > 0
            if status in {200, 404}:
                return
            if status and status not in AGAIN:
                break
        told = f"HTTP {status}" if status else "no answer"
        hint = "Nothing is lost: both keys are in place. Run the same command again: it goes on there."
        raise CpkitError(f"{where} could not be rewritten: {told}", hint=hint)

    def _attempts(self) -> Iterator[int]:
        for attempt in range(ATTEMPTS):
            yield attempt
            time.sleep(min(0.05 * 2**attempt, 2.0))

    def _patch(self, where: str) -> int:
        """The status of one empty patch; 0 when nobody answered."""
        api: HTTPSConnection | None = getattr(self._local, "api", None)
        if api is None:
            api = HTTPSConnection(self.endpoint.host, self.endpoint.port, timeout=PATIENCE, context=self.context)
            self._local.api = api
        headers = {"Content-Type": "application/merge-patch+json", "Accept": METADATA}
        try:
            api.request("PATCH", where, b"{}", headers)
            answer = api.getresponse()
            answer.read()
        except (OSError, HTTPException):
            api.close()
            return 0
        return answer.status


def path(resource: str, name: str) -> str:
    """Where the API has an object of the core group, from its key below the resource in etcd."""
    namespace, slash, rest = name.partition("/")
    if slash:
        return f"/api/v1/namespaces/{quote(namespace)}/{resource}/{quote(rest)}"
    return f"/api/v1/{resource}/{quote(name)}"
