"""Calls to an S3 server with the standard library: signed, bounded in time, repeated when the server was busy."""

import http.client
import json
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cpkit.backup.errors import StoreError
from cpkit.backup.node.signing import Credentials, Request, signed

PATIENCE = 60.0  # seconds without a byte
ATTEMPTS = 4
BUSY = (429, 500, 502, 503, 504)
LARGEST_ANSWER = 16 << 20  # of those that are no object


class Missing(StoreError):
    """What was asked for is not there."""


@dataclass(frozen=True)
class Place:
    """A bucket and a prefix, as an s3:// URL names them, and the server that has them."""

    bucket: str
    prefix: str
    endpoint: str
    region: str

    def request(self, method: str, key: str = "", **more: object) -> Request:
        """A request for an object, or for the bucket."""
        host, path = urlsplit(self.endpoint).netloc, f"/{self.bucket}/{key}" if key else f"/{self.bucket}"
        return Request(method, host, path, **more)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def place(location: str) -> Place:
    """What a URL names; without an endpoint it is Amazon's, of the region."""
    parts = urlsplit(location)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    region = asked.get("region", "us-east-1")
    prefix = parts.path.strip("/")
    endpoint = asked.get("endpoint", f"https://s3.{region}.amazonaws.com").rstrip("/")
    return Place(parts.netloc, f"{prefix}/" if prefix else "", endpoint, region)


def read_credentials(path: Path) -> Credentials:
    """What the role has laid down on the node."""
    try:
        return Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path} holds no credentials", hint="Lay it down with: cpkit backup schedule") from error


def listing(place: Place) -> Request:
    """The least that can be asked: one name below the prefix."""
    return place.request("GET", query={"list-type": "2", "max-keys": "1", "prefix": place.prefix})


@dataclass(frozen=True)
class Caller:
    """Who asks a server, for a store that is called so."""

    place: Place
    credentials: Credentials = field(repr=False)

    def call(
        self, method: str, key: str = "", query: Mapping[str, str] | None = None, data: bytes = b"", **headers: str
    ) -> ElementTree.Element:
        """The answer to a call, as XML; S3 may also refuse with a 200 that holds an error."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.asked(method, key, query=query or {}, headers=named, data=data) as answer:
            body = answer.read(LARGEST_ANSWER)
        root = _parsed(body)
        if root.tag.rpartition("}")[2] == "Error":
            raise self._refused(200, body)
        return root

    @contextmanager
    def asked(
        self, method: str, key: str = "", *, query: Mapping[str, str], headers: Mapping[str, str], data: bytes = b""
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request; Missing for one to what is not there, StoreError for every other failure."""
        request = self.place.request(method, key, query=query, headers=headers, data=data)
        for attempt in range(1, ATTEMPTS + 1):
            connection = self._connection()
            try:
                answer = self._answer(connection, request)
                if answer.status < 300:
                    yield answer
                    return
                if answer.status not in BUSY or attempt == ATTEMPTS:
                    raise self._refused(answer.status, answer.read(LARGEST_ANSWER))
            except (OSError, http.client.HTTPException) as error:
                raise StoreError(f"{self.place} cannot be reached: {error or type(error).__name__}") from error
            finally:
                connection.close()
            time.sleep(2 ** (attempt - 1))

    def _answer(self, connection: http.client.HTTPConnection, request: Request) -> http.client.HTTPResponse:
        headers = signed(request, self.credentials, self.place.region, datetime.now(UTC))
        connection.request(request.method, request.target, request.data or None, headers)
        return connection.getresponse()

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.place.endpoint)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=PATIENCE)

    def _refused(self, status: int, body: bytes) -> StoreError:
        root = _parsed(body)
        code, text = root.findtext("{*}Code", ""), root.findtext("{*}Message", "")
        if status == 404 and code != "NoSuchBucket":
            return Missing(f"{self.place} does not hold it")
        return StoreError(f"{self.place} refuses: {text or f'HTTP {status}'}{f' ({code})' if code else ''}")


def _parsed(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)  # noqa: S314 - the server that is trusted with the backups
    except ElementTree.ParseError:
        return ElementTree.Element("nothing")
