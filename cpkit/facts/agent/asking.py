"""One request to a server of the node, over TLS or without, and what it answered."""

from __future__ import annotations

import re
import socket
import ssl
import time

from cpkit.facts.agent.files import digest

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LOOPBACK = "127.0.0.1"
PATIENCE = 2.0  # seconds for one request


def probe(
    port: int, path: str, context: Callable[[], ssl.SSLContext], more: str = "", address: str = LOOPBACK
) -> dict[str, Any]:
    """One request and how long it took; files that make no context are an answer, too."""
    started = time.monotonic()
    try:
        status, body, shown = get(port, path, context(), more, address)
    except (OSError, ValueError, IndexError) as error:
        return {"seconds": time.monotonic() - started, "error": reason(error)}
    failed = re.findall(r"^\[-\](\S+)", body, re.MULTILINE)
    return {"status": status, "seconds": time.monotonic() - started, "failed": failed, "served": shown}


def get(
    port: int, path: str, context: ssl.SSLContext | None = None, more: str = "", address: str = LOOPBACK
) -> tuple[int, str, str]:
    """Status, body and the digest of the certificate shown, for one GET with `more` header lines to this node."""
    end = time.monotonic() + PATIENCE
    with socket.create_connection((address, port), PATIENCE) as plain:
        stream = context.wrap_socket(plain, server_hostname=address) if context else plain
        shown = digest(stream.getpeercert(True) or b"") if isinstance(stream, ssl.SSLSocket) else ""
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{more}\r\n".encode())
        answer = b""
        while not complete(answer):
            stream.settimeout(max(0.01, end - time.monotonic()))
            chunk = stream.recv(1 << 16)
            if not chunk:
                break
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    body = joined(body) if b"transfer-encoding: chunked" in head.lower() else body
    return int(head.split(None, 2)[1]), body.decode("utf-8", "replace"), shown


def complete(answer: bytes) -> bool:
    """Whether an answer says itself that it is whole; etcd's peer port does not always close when it should."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
    return bool(end and length) and len(body) >= int(length.group(1) if length else 0)


def joined(chunks: bytes) -> bytes:
    """A chunked body as one."""
    body = b""
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        body, chunks = body + chunks[:length], chunks[length + 2 :]
    return body


def trusting(authority: str, pair: str = "") -> ssl.SSLContext:
    """A client's context that trusts one CA file and, if asked, shows the pair at PAIR.crt and PAIR.key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    if pair:
        context.load_cert_chain(pair + ".crt", pair + ".key")
    return context


def believing(pair: str = "") -> ssl.SSLContext:
    """A client's context that takes any certificate, to see which one is shown, and shows the pair if asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if pair:
        context.load_cert_chain(pair + ".crt", pair + ".key")
    return context


def reason(error: BaseException) -> str:
    """An error in one short line."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, socket.timeout):
        return "timed out"
    return f"{type(error).__name__}: {error}"[:200]
