"""Many Secrets in a running cluster, and what etcd holds of them, read without cpkit's own judgement."""

import json
import re
import ssl
import threading
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.client import HTTPSConnection

from cpkit.facts.member import open_member
from cpkit.inventory import load
from tests.e2e.running import Cluster

NAMESPACE = "many"
CLIENTS = 8
ENVELOPE = re.compile(rb"k8s:enc:secretbox:v1:([^:]+):")
FIRST, AFTER = b"/registry/secrets/", b"/registry/secrets0"


def value(name: str) -> str:
    """What the Secret of a name holds."""
    return sha256(name.encode()).hexdigest() * 8


def create(cluster: Cluster, context: ssl.SSLContext, count: int) -> None:
    """As many Secrets in a namespace of their own, by several clients on kept connections."""
    endpoint, held = load(cluster.lab.inventory).endpoint, threading.local()

    def post(path: str, body: object) -> None:
        if not hasattr(held, "api"):
            held.api = HTTPSConnection(endpoint.host, endpoint.port, timeout=30, context=context)
        held.api.request("POST", f"/api/v1/namespaces{path}", json.dumps(body), {"Content-Type": "application/json"})
        answer = held.api.getresponse()
        told = answer.read()
        assert answer.status == 201, told

    def one(number: int) -> None:
        name = f"s{number:05}"
        data = {"value": b64encode(value(name).encode()).decode()}
        post(f"/{NAMESPACE}/secrets", {"metadata": {"name": name}, "data": data})

    post("", {"metadata": {"name": NAMESPACE}})
    with ThreadPoolExecutor(CLIENTS) as pool:
        for _ in pool.map(one, range(count)):
            pass


def wrong(cluster: Cluster) -> list[str]:
    """The Secrets that do not hold what they were made with, as the API tells."""
    items = json.loads(cluster.kubectl("get", "secrets", "-n", NAMESPACE, "-o", "json"))["items"]
    held = {each["metadata"]["name"]: b64decode(each["data"]["value"]).decode() for each in items}
    return [name for name, data in held.items() if data != value(name)]


def stored(cluster: Cluster) -> dict[str, int]:
    """Key -> how many Secrets etcd holds under it; what is in no envelope is under an empty name."""
    return dict(Counter(found[1].decode() if (found := ENVELOPE.match(raw)) else "" for raw in _values(cluster)))


def _values(cluster: Cluster) -> Iterator[bytes]:
    with open_member(load(cluster.lab.inventory).control_plane[-1], timeout=60) as client:
        start = FIRST
        while rows := client.rows(start, AFTER, revision=0, limit=500):
            yield from (row.value for row in rows)
            start = rows[-1].key + b"\0"
