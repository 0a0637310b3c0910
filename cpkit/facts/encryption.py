"""How objects are encrypted: what each node's file says, what its API server has loaded, and what etcd holds raw."""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPSConnection
from ssl import SSLContext
from typing import TYPE_CHECKING, Protocol

from cpkit.errors import CpkitError, Refused, Unreachable
from cpkit.etcd.registry import after, prefix
from cpkit.inventory import Cluster, Node
from cpkit.pki.authorities import ENCRYPTION
from cpkit.pki.encryption import PROVIDER, Configuration, parse
from cpkit.ssh import Connection, connect, fan_out

if TYPE_CHECKING:
    from cpkit.etcd import Row

PORT = 6443
PATIENCE = 10.0
PAGE = 100
TRIES, BUSY = 5, {0, 429, 503}  # of an API server that has no time now
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"  # of an object no more than its name
METRIC = "apiserver_encryption_config_controller_last_config_info"
LOADED = re.compile(rf'^{METRIC}\{{.*?[{{,]hash="(?:sha256:)?([0-9a-f]+)"', re.MULTILINE)
STORED = re.compile(rb"k8s:enc:(\w+):v\d+:([^:]+):")
PLAIN = "(not encrypted)"


@dataclass(frozen=True)
class Reading:
    """What one node says; `error` says why it could not be told."""

    node: str
    text: str = field(default="", repr=False)
    configuration: Configuration | None = None
    loaded: str = ""  # digest of the file the running API server works with
    error: str = ""
    hint: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def in_use(self) -> bool:
        """Whether the API server has loaded just this file."""
        return bool(self.text) and self.loaded == self.digest


def read(cluster: Cluster, context: SSLContext) -> dict[str, Reading]:
    """Every control-plane node's reading, all at once; a node that fails is a reading with an error."""
    nodes = cluster.control_plane
    answers = fan_out(nodes, lambda node: _read(node, context), deadline=4 * PATIENCE)
    return {
        node.name: answer
        if isinstance(answer := answers[node.name], Reading)
        else Reading(node.name, error=answer.message, hint=answer.hint)
        for node in nodes
    }


def _read(node: Node, context: SSLContext) -> Reading:
    with connect(node) as connection:
        text = connection.read(ENCRYPTION, sudo=True, timeout=PATIENCE).decode()
        try:
            configuration = parse(text)
        except ValueError as error:
            return Reading(node.name, text, error=f"{ENCRYPTION}: {error}", hint="It was changed by hand.")
        return Reading(node.name, text, configuration, _loaded(connection, context))


def _loaded(connection: Connection, context: SSLContext) -> str:
    """The digest that the API server tells in its metrics; "" when it does not answer."""
    status, body = _asked(connection, context, "/metrics")
    found = LOADED.search(body) if status == 200 else None
    return found[1] if found else ""


def unreadable(cluster: Cluster, context: SSLContext, path: str) -> str:
    """Why an object cannot be read, from etcd itself, from one of the API servers; "" when all can or it is gone."""

    def ask(node: Node) -> int:
        with connect(node) as connection:
            for _ in range(TRIES):
                status, _body = _asked(connection, context, path)
                if status not in BUSY:
                    break
                time.sleep(1)
            return status

    for name, answer in fan_out(cluster.control_plane, ask, deadline=4 * PATIENCE).items():
        if isinstance(answer, CpkitError):
            return f"{name} cannot be asked for it: {answer.message}"
        if answer not in {200, 404}:
            return f"the API server of {name} cannot read it" + (f" (HTTP {answer})" if answer else ": no answer")
    return ""


def _asked(connection: Connection, context: SSLContext, path: str) -> tuple[int, str]:
    """The status and body of a node's own API server; the status is 0 when it does not answer."""
    try:
        with connection.tunnel(PORT) as (host, port):
            api = HTTPSConnection(host, port, timeout=PATIENCE, context=context)
            api.request("GET", path, headers={"Accept": f"{METADATA}, */*"})
            answer = api.getresponse()
            body = answer.read().decode()
            api.close()
    except (OSError, HTTPException):
        return 0, ""
    return answer.status, body


class Rows(Protocol):
    """What can list raw values."""

    def rows(self, start: bytes, end: bytes, *, revision: int, limit: int) -> tuple["Row", ...]:
        """The first keys of a range, and their values."""


def stored(member: Rows, resource: str, revision: int = 0) -> Iterator[tuple["Row", ...]]:
    """Pages of a resource's raw values."""
    start = prefix(resource)
    end = after(start)
    while page := member.rows(start, end, revision=revision, limit=PAGE):
        yield page
        start = page[-1].key + b"\0"


def encrypted_with(value: bytes) -> str:
    """The name of the key a raw value is encrypted with; of another provider, with its name before it."""
    found = STORED.match(value)
    if not found:
        return PLAIN
    provider, name = found[1].decode(), found[2].decode("utf-8", "replace")
    return name if provider == PROVIDER else f"{provider}:{name}"


def counts(member: Rows, resources: tuple[str, ...], revision: int) -> Mapping[str, Mapping[str, int]]:
    """Resource -> key -> how many objects are encrypted with it."""
    return {
        resource: dict(
            Counter(encrypted_with(row.value) for page in stored(member, resource, revision) for row in page)
        )
        for resource in resources
    }


def settled(readings: Mapping[str, Reading]) -> Mapping[str, Configuration]:
    """The configurations of all nodes; Unreachable or Refused for the first node that did not tell one."""
    for reading in readings.values():
        if reading.configuration is None:
            kind = Refused if reading.text else Unreachable
            hint = f"{reading.hint}\n  Nothing is rotated until every node has told what it holds."
            raise kind(reading.error, node=reading.node, hint=hint)
    return {name: reading.configuration for name, reading in readings.items() if reading.configuration}
