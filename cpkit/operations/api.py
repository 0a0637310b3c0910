"""The API, read as an administrator; no key touches a disk for that."""

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import quote

from ruamel.yaml import YAML

from cpkit.inventory import Cluster
from cpkit.operations.access import read_from_any
from cpkit.operations.credentials import trusting

PATIENCE = 5.0  # seconds a request may take
PAGE = 500


@dataclass(frozen=True)
class Api:
    """An API server, and what it trusts and is trusted by."""

    host: str
    port: int
    context: ssl.SSLContext

    def text(self, path: str, *, patience: float = PATIENCE) -> str:
        """What a path answers; ValueError when that is not 200."""
        connection = HTTPSConnection(self.host, self.port, timeout=patience, context=self.context)
        try:
            connection.request("GET", path, headers={"Accept": "application/json, text/plain"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"HTTP {answer.status}")
        return body.decode()

    def listed(self, path: str) -> Iterator[dict[str, Any]]:
        """Every object of a list."""
        more = ""
        while True:
            page = json.loads(self.text(f"{path}?limit={PAGE}&continue={quote(more)}"))
            yield from page["items"]
            more = page["metadata"].get("continue", "")
            if not more:
                return


def through_endpoint(cluster: Cluster) -> Api:
    """The API through the cluster's endpoint, with the credentials that a node gives."""
    admin = YAML(typ="safe").load(read_from_any(cluster, "/etc/kubernetes/admin.conf"))
    return Api(cluster.endpoint.host, cluster.endpoint.port, trusting(admin))
