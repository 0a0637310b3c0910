"""An etcd member, asked through its JSON gateway with the standard library."""

import base64
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cpkit.errors import CpkitError, Unreachable

CONNECT = 3.0  # seconds; a machine that is off does not even refuse
PATIENCE = 15.0  # seconds without a byte within a snapshot
TRAILER = 32  # bytes at a snapshot's end that the member does not count
LONGEST_LINE = 1 << 22


@dataclass(frozen=True)
class Value:
    """A key's value, and when it was made and changed."""

    data: bytes
    created: int
    modified: int


class Gateway:
    """One member; every call ends by its deadline, and what goes wrong is said in words."""

    def __init__(self, address: str, context: ssl.SSLContext, *, node: str, timeout: float = 5.0) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port, self._context = host, int(port), context
        self.node, self.timeout = node, timeout

    def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one call."""
        with self._asked(path, body, self.timeout) as answer:
            told: dict[str, Any] = json.loads(answer.read())
            return told

    def get(self, key: bytes) -> Value | None:
        """A key, read through the quorum; None when it is not there."""
        found = self.call("kv/range", {"key": encoded(key)}).get("kvs", [])
        if not found:
            return None
        kv = found[0]
        return Value(base64.b64decode(kv.get("value", "")), int(kv["create_revision"]), int(kv["mod_revision"]))

    def delete(self, key: bytes) -> None:
        """Take a key away; it may be gone already."""
        self.call("kv/deleterange", {"key": encoded(key)})

    def keys(self, start: bytes, end: bytes, *, revision: int, limit: int) -> tuple[bytes, ...]:
        """The first keys of a range."""
        asked = {"key": encoded(start), "range_end": encoded(end), "keys_only": True}
        answer = self.call("kv/range", asked | {"revision": revision, "limit": limit})
        return tuple(base64.b64decode(kv["key"]) for kv in answer.get("kvs", []))

    def count(self, start: bytes, end: bytes, *, revision: int) -> int:
        """How many keys a range holds."""
        asked = {"key": encoded(start), "range_end": encoded(end), "count_only": True, "revision": revision}
        return int(self.call("kv/range", asked).get("count", 0))

    def snapshot(self) -> tuple[int, Iterator[bytes]]:
        """The member's database: its size with the trailer, and its pieces."""
        pieces = self._snapshot()
        first = next(pieces)
        size = int(first.get("remaining_bytes", 0)) + len(base64.b64decode(first.get("blob", ""))) + TRAILER

        def blobs() -> Iterator[bytes]:
            yield base64.b64decode(first.get("blob", ""))
            for piece in pieces:
                yield base64.b64decode(piece.get("blob", ""))

        return size, blobs()

    def _snapshot(self) -> Iterator[dict[str, Any]]:
        with self._asked("maintenance/snapshot", {}, PATIENCE) as answer:
            while line := answer.readline(LONGEST_LINE):
                told = json.loads(line)
                if "result" not in told:
                    raise CpkitError(f"etcd broke its snapshot off: {told.get('error', told)}", node=self.node)
                yield told["result"]

    @contextmanager
    def _asked(self, path: str, body: Mapping[str, Any], timeout: float) -> Iterator[http.client.HTTPResponse]:
        quick = min(timeout, CONNECT)
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._context, timeout=quick)
        try:
            connection.connect()
            connection.sock.settimeout(timeout)
            connection.request("POST", f"/v3/{path}", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise CpkitError(f"etcd refuses {path}: {_said(answer.read())}", node=self.node)
            yield answer
        except TimeoutError:
            raise Unreachable(f"etcd did not answer within {timeout:g} s", node=self.node) from None
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            raise Unreachable(f"etcd cannot be asked: {error}", node=self.node) from error
        finally:
            connection.close()


def encoded(data: bytes) -> str:
    """Bytes as the gateway takes them."""
    return base64.b64encode(data).decode()


def _said(body: bytes) -> str:
    try:
        return str(json.loads(body).get("message", ""))
    except (ValueError, AttributeError):
        return body.decode("utf-8", "replace")[:200]
