"""A stream of messages from a member by libcurl, for what is large: gRPC's own library takes three times the work.

It is the same call on the wire: HTTP/2 over mTLS, messages behind a length, and a status in the trailers
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). Nothing is read ahead of whoever asks for the next
message, except what the kernel and HTTP/2's window hold.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cpkit.etcd.rpc import grpc

if TYPE_CHECKING:
    import pycurl

PREFIX = 5  # bytes before a message: whether it is compressed, and its length
EMPTY = bytes(PREFIX)  # a request without fields
BATCH = 64  # pieces, of some kilobytes each
POLL = 0.5  # seconds between two looks at whether the patience is over
LOST = "socket closed"


@dataclass(frozen=True)
class Place:
    """A member's address, what its clients show, and the name that its certificate must carry if not the host."""

    host: str
    port: int
    ca: bytes
    cert: bytes
    key: bytes = field(repr=False)
    server_name: str = ""
    socket: Path | None = None  # a Unix socket that leads there, to be used instead


class Ended(Exception):
    """A call that ended otherwise than well, in the words of gRPC."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        """How gRPC classifies it."""
        return self._code

    def details(self) -> str:
        """What was said about it."""
        return self._details


class Stalled(Exception):
    """Nothing came for longer than the patience."""


class Pull:
    """The messages of one call; Ended when it ends otherwise than well, Stalled when nothing comes."""

    def __init__(self, place: Place, method: str, *, timeout: float, patience: float) -> None:
        import pycurl

        self._patience = patience
        self._arrived: list[bytes] = []
        self._rest = b""  # of a message whose end is still to come
        self._ready: deque[memoryview] = deque()
        self._headers: dict[str, str] = {}
        self._running = True
        self._curl = self._prepared(pycurl.Curl(), place, method, timeout)
        self._multi = pycurl.CurlMulti()
        self._multi.add_handle(self._curl)

    def __iter__(self) -> "Pull":
        return self

    def __next__(self) -> memoryview:
        while not self._ready:
            if not self._running:
                self._end()
                raise StopIteration
            self._receive()
            self._ready.extend(self._messages())
        return self._ready.popleft()

    def close(self) -> None:
        """End the call, wherever it is."""
        self._multi.close()
        self._curl.close()

    def _prepared(self, curl: "pycurl.Curl", place: Place, method: str, timeout: float) -> "pycurl.Curl":
        import pycurl

        name = place.server_name or place.host
        curl.setopt(pycurl.URL, f"https://{f'[{name}]' if ':' in name else name}:2379/{method}")
        if place.socket:
            curl.setopt(pycurl.UNIX_SOCKET_PATH, str(place.socket))
        else:
            curl.setopt(pycurl.CONNECT_TO, [f"::{place.host}:{place.port}"])
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        curl.setopt(pycurl.HTTPHEADER, ["content-type: application/grpc", "te: trailers"])
        curl.setopt(pycurl.POSTFIELDS, EMPTY)
        curl.setopt(pycurl.CAINFO_BLOB, place.ca)
        curl.setopt(pycurl.SSLCERT_BLOB, place.cert)
        curl.setopt(pycurl.SSLKEY_BLOB, place.key)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.TIMEOUT_MS, round(timeout * 1000))
        curl.setopt(pycurl.WRITEFUNCTION, self._arrived.append)
        curl.setopt(pycurl.HEADERFUNCTION, self._header)
        return curl

    def _header(self, line: bytes) -> None:
        name, _, value = line.decode("latin-1").partition(":")
        self._headers[name.strip().lower()] = value.strip()

    def _receive(self) -> None:
        """Take in what has come, a batch at the most, and wait when nothing has."""
        perform, arrived, began = self._multi.perform, self._arrived, monotonic()
        while self._running and len(arrived) < BATCH:
            before = len(arrived)
            self._running = bool(perform()[1])
            if len(arrived) == before and self._running:
                if arrived:
                    return  # no more for now
                if monotonic() - began > self._patience:
                    raise Stalled
                self._multi.select(POLL)

    def _messages(self) -> Iterator[memoryview]:
        """All messages that are here as a whole."""
        held = memoryview(b"".join((self._rest, *self._arrived)))
        self._arrived.clear()
        begin = 0
        while (body := begin + PREFIX) <= len(held):
            end = body + int.from_bytes(held[begin + 1 : body], "big")
            if end > len(held):
                break
            yield held[body:end]
            begin = end
        self._rest = bytes(held[begin:])

    def _end(self) -> None:
        _, _, failed = self._multi.info_read()
        if failed:
            raise _failure(*failed[0][1:])
        number = self._headers.get("grpc-status", "")
        if number != "0":
            code = next((each for each in grpc.StatusCode if str(each.value[0]) == number), grpc.StatusCode.UNKNOWN)
            raise Ended(code, unquote(self._headers.get("grpc-message", "")) or "the answer has no status of gRPC's")
        if self._rest:
            raise Ended(grpc.StatusCode.UNAVAILABLE, LOST)


def _failure(number: int, text: str) -> Ended:
    """What libcurl says, in the words that gRPC's library has for it."""
    import pycurl

    if number == pycurl.E_OPERATION_TIMEDOUT:
        return Ended(grpc.StatusCode.DEADLINE_EXCEEDED, text)
    said, foreign = text.lower(), number == pycurl.E_PEER_FAILED_VERIFICATION
    words = {
        "connection refused": number == pycurl.E_COULDNT_CONNECT,
        "is not in peer certificate": foreign and "subject" in said,
        "certificate_verify_failed": foreign,
        "security handshaker": number == pycurl.E_SSL_CERTPROBLEM or "private key" in said,
        "unwrap failed": "alert" in said,
        LOST: "reset" in said or number in (pycurl.E_GOT_NOTHING, pycurl.E_HTTP2, pycurl.E_PARTIAL_FILE),
    }
    return Ended(grpc.StatusCode.UNAVAILABLE, next((each for each, fits in words.items() if fits), text))
