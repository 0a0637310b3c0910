"""A release site on loopback that can misbehave the way real ones do."""

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cpkit.artifacts import Target


@dataclass
class Site:
    """What is served, how badly, and what was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    cut_after: dict[str, list[int]] = field(default_factory=dict)  # bytes of body for each request, then whole
    silent_after: dict[str, int] = field(default_factory=dict)
    trickle: dict[str, float] = field(default_factory=dict)  # seconds between two bytes
    ranges: bool = True
    requests: Counter[str] = field(default_factory=Counter)
    ranges_asked: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def publish(self, target: Target, content: dict[str, bytes]) -> None:
        """Put binaries and their checksums where a mirror has them."""
        for name, body in content.items():
            path = f"/{target.release_dir}/{name}"
            self.files[path] = body
            self.files[f"{path}.sha256"] = hashlib.sha256(body).hexdigest().encode()

    def path(self, target: Target, name: str) -> str:
        return f"/{target.release_dir}/{name}"


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve the site on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def do_GET(self) -> None:
            _answer(self, site)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        site.released.set()
        server.shutdown()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    path = handler.path
    site.requests[path] += 1
    body = site.files.get(path)
    status = site.status.get(path, 200 if body is not None else 404)
    if body is None or status >= 400:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    start = int(asked[1]) if asked and site.ranges else 0
    if asked:
        site.ranges_asked.append(asked[0])
    if start >= len(body) and start:
        handler.send_response(416)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    handler.send_header("Content-Length", str(len(body) - start))
    handler.end_headers()
    _send(handler, site, body[start:])


def _send(handler: BaseHTTPRequestHandler, site: Site, body: bytes) -> None:
    path = handler.path
    if site.cut_after.get(path):
        handler.wfile.write(body[: site.cut_after[path].pop(0)])
        handler.close_connection = True
    elif path in site.silent_after:
        handler.wfile.write(body[: site.silent_after[path]])
        site.released.wait(10)
        handler.close_connection = True
    elif path in site.trickle:
        for byte in body:
            handler.wfile.write(bytes([byte]))
            if site.released.wait(site.trickle[path]):
                break
        handler.close_connection = True
    else:
        handler.wfile.write(body)
