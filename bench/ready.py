"""The condition both sides of the comparison are held to: every API server, both leases, and the VIP."""

import http.client
import json
import os
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial

from cpkit.inventory import Cluster

LEASES = ("kube-controller-manager", "kube-scheduler")
POLL = 0.2  # seconds; asking more often would take from the machine that is measured
DEADLINE = 180.0


class Observer:
    """Asks a cluster from outside with an administrator's certificate, which stays in memory."""

    def __init__(self, cluster: Cluster, authority: str, certificate: str, key: str) -> None:
        self._cluster = cluster
        self._context = ssl.create_default_context(cadata=authority)
        descriptor = os.memfd_create("credential")
        try:
            os.write(descriptor, (certificate + key).encode())
            self._context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)

    def await_ready(self) -> dict[str, float]:
        """Seconds until each part held: api, leases, endpoint; TimeoutError when one does not come to hold."""
        began = time.monotonic()
        threads = [_Until(part, holds, began) for part, holds in self._conditions()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        late = {thread.part for thread in threads if thread.took is None}
        if late:
            raise TimeoutError(f"not ready within {DEADLINE:.0f} s: {', '.join(sorted(late))}")
        return {
            part: max(thread.took or 0.0 for thread in threads if thread.part == part)
            for part in ("api", "leases", "endpoint")
        }

    def _conditions(self) -> list[tuple[str, Callable[[], bool]]]:
        nodes, endpoint = self._cluster.control_plane, self._cluster.endpoint
        asked = nodes[0].address  # leases are the same on all
        return [
            *(("api", partial(self._ready, node.address, 6443)) for node in nodes),
            *(("leases", partial(self._held, asked, name)) for name in LEASES),
            ("endpoint", partial(self._ready, endpoint.host, endpoint.port)),
        ]

    def _ready(self, host: str, port: int) -> bool:
        return self._get(host, port, "/readyz") is not None

    def _held(self, host: str, name: str) -> bool:
        body = self._get(host, 6443, f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}")
        return bool(body and json.loads(body)["spec"].get("holderIdentity"))

    def _get(self, host: str, port: int, path: str) -> bytes | None:
        """The body of a 200; None for anything else."""
        connection = http.client.HTTPSConnection(host, port, timeout=2, context=self._context)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return body if answer.status == http.HTTPStatus.OK else None


class _Until(threading.Thread):
    """Polls until something holds; `took` is None when it never did."""

    def __init__(self, part: str, holds: Callable[[], bool], began: float) -> None:
        super().__init__(daemon=True)
        self.part = part
        self.took: float | None = None
        self._holds = holds
        self._began = began

    def run(self) -> None:
        """Ask until it holds or the deadline has passed."""
        while (asked := time.monotonic()) - self._began < DEADLINE:
            if self._holds():
                self.took = time.monotonic() - self._began
                return
            time.sleep(max(0.0, POLL - (time.monotonic() - asked)))
