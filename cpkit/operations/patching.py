"""Have an API server write objects anew by empty patches: it writes what is not encrypted with its first key."""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPSConnection
from ssl import SSLContext
from urllib.parse import quote

from cpkit.errors import CpkitError
from cpkit.etcd.registry import prefix
from cpkit.facts.encryption import METADATA
from cpkit.inventory import Endpoint

WORKERS = 8
ATTEMPTS = 12
PATIENCE = 20.0
DONE = {200, 404}
NOTHING_LOST = "Nothing is lost: both keys are in place. Run the same command again: it goes on there."
AGAIN = {0, 409, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patcher:
    """Connections to the API, one a thread."""

    endpoint: Endpoint
    context: SSLContext
    _local: threading.local = field(default_factory=threading.local)

    def patch(self, paths: Iterable[str]) -> Iterator[None]:
        """One after another is done, or its object gone; CpkitError when the API server refuses."""
        with ThreadPoolExecutor(WORKERS) as pool:
            yield from pool.map(self._one, paths)

    def _one(self, where: str) -> None:
        for attempt in range(ATTEMPTS):
            status = self._asked(where)
            if status in DONE:
                return
            if status not in AGAIN:
                break
            time.sleep(min(0.05 * 2**attempt, 2.0))
        told = f"HTTP {status}" if status else "no answer"
        raise CpkitError(f"{where} could not be rewritten: {told}", hint=NOTHING_LOST)

    def _asked(self, where: str) -> int:
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


def api_path(resource: str, key: bytes) -> str:
    """Where the API has an object of the core group, from its key in etcd."""
    name = key.removeprefix(prefix(resource)).decode()
    namespace, slash, rest = name.partition("/")
    if slash:
        return f"/api/v1/namespaces/{quote(namespace)}/{resource}/{quote(rest)}"
    return f"/api/v1/{resource}/{quote(name)}"
