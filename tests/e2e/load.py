"""Requests through the endpoint while something happens: reads on new and on kept connections, writes, and a watch."""

import base64
import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PATH = "/api/v1/namespaces/kube-system"
WRITTEN = f"{PATH}/configmaps"
WATCH = "/api/v1/configmaps?watch=1&timeoutSeconds=3600"
PACE = 0.05  # seconds between two requests of one client
TIMEOUT = 10.0
# A client that a server leaves alone waits for more than this: etcd's 5 s until an election and 7 s for a proposal that
# was dropped. A busy machine of two processors lets one wait for a second by itself.
LONGEST_WAIT = 3.0
LONGEST_GAP = 1.0
CLIENTS = 2  # of each kind: 120 requests a second, if the machine is up to it


@dataclass
class Load:
    """Clients, and what they saw."""

    host: str
    port: int
    context: ssl.SSLContext
    pace: float = PACE
    requests: int = 0
    written: dict[str, int] = field(default_factory=dict)  # object -> the last number that was acknowledged
    errors: list[str] = field(default_factory=list)
    repeated: int = 0  # what a client does by itself: told to by a server that ends, or its idle connection was closed
    longest_gap: float = 0.0  # seconds in which no client got an answer
    longest_wait: float = 0.0  # seconds between two answers to any one client, but for what it was told to wait
    watches_cut: int = 0
    seconds: float = 0.0
    _answered: float = 0.0  # when any client got its last answer
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.requests} requests, {self.rate:.0f}/s, {len(self.errors)} failed, {self.repeated} repeated, "
            f"longest gap {self.longest_gap:.2f} s, longest wait {self.longest_wait:.2f} s, "
            f"{self.watches_cut} watches cut, "
            f"{sum(self.written.values())} writes acknowledged"
        )

    def held_up(self) -> str:
        """How the clients had to wait longer than is right; empty when they had not."""
        return str(self) if self.longest_gap >= LONGEST_GAP or self.longest_wait >= LONGEST_WAIT else ""

    def connect(self) -> HTTPSConnection:
        return HTTPSConnection(self.host, self.port, timeout=TIMEOUT, context=self.context)

    def client(self, kind: str) -> None:
        """Ask at a steady pace until it is over; one that writes counts up in an object of its own."""
        connection, last = self.connect(), time.monotonic()
        name = f"load-{secrets.token_hex(4)}"
        if kind == "write":
            created = ask(connection, "POST", WRITTEN, {"metadata": {"name": name}})
            self.written[name], self.errors = 0, self.errors + ([f"create: {created}"] if created else [])
        while not self._over.is_set():
            began = time.monotonic()
            error = self._write(connection, name) if kind == "write" else ask(connection)
            if wait := again(error, kept=kind != "new"):
                self.repeated += 1
                connection.close()
                self._over.wait(wait)
                connection, last = self.connect(), last + wait
                error = self._write(connection, name) if kind == "write" else ask(connection)
            now = time.monotonic()
            with self._lock:
                self.requests += 1
                self.longest_gap = max(self.longest_gap, now - self._answered)
                self.longest_wait = max(self.longest_wait, now - last)
                self._answered = self._answered if error else now
                self.errors += [f"{kind}: {error}"] if error else []
            last = last if error else now
            if error or kind == "new":
                connection.close()
                connection = self.connect()
            self._over.wait(max(0.0, self.pace - (time.monotonic() - began)))
        connection.close()

    def _write(self, connection: HTTPSConnection, name: str) -> str:
        number = self.written[name] + 1
        error = ask(connection, "PATCH", f"{WRITTEN}/{name}", {"data": {"number": str(number)}})
        if not error:
            self.written[name] = number
        return error

    def lost(self) -> dict[str, str]:
        """Objects that hold less than was acknowledged, and what they hold; asked when it is over."""
        connection, found = self.connect(), {}
        for name, number in self.written.items():
            connection.request("GET", f"{WRITTEN}/{name}")
            held = json.loads(connection.getresponse().read()).get("data", {}).get("number", "0")
            if int(held) < number:
                found[name] = f"{held} of {number}"
        connection.close()
        return found

    def watch(self, stream: Any) -> None:
        """Read events until it is over, or the server ends it."""
        try:
            while stream.readline():
                pass
        except (OSError, ValueError, HTTPException):
            pass  # as good as an end
        if not self._over.is_set():
            self.watches_cut += 1

    def run(self, watching: HTTPSConnection, each: int) -> "Iterator[Load]":
        watching.request("GET", WATCH)
        answer, stream = watching.getresponse(), watching.sock
        stream.settimeout(None)
        kinds = ["new", "kept", "write"] * each
        work = [*((self.client, kind) for kind in kinds), (self.watch, answer)]
        threads = [threading.Thread(target=target, args=(argument,), daemon=True) for target, argument in work]
        began = self._answered = time.monotonic()
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            with suppress(OSError):  # it may have been cut
                stream.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(TIMEOUT)
            self.seconds = time.monotonic() - began


@contextmanager
def load(kubeconfig: Path, each: int = CLIENTS, pace: float = PACE) -> Iterator[Load]:
    """Ask as an administrator, from several clients of each kind at once, while the body runs."""
    body = YAML(typ="safe").load(kubeconfig)
    cluster, user = body["clusters"][0]["cluster"], body["users"][0]["user"]
    host, _, port = cluster["server"].removeprefix("https://").partition(":")
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    pair = kubeconfig.with_suffix(".pem")
    pair.touch(mode=0o600)
    pair.write_bytes(b"\n".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")))
    context.load_cert_chain(pair)
    clients = Load(host, int(port or 443), context, pace)
    yield from clients.run(clients.connect(), each)


def again(error: str, *, kept: bool) -> float:
    """Seconds after which every client of Kubernetes repeats a request by itself; 0 if it takes the error for one.

    A server that ends says 429 and when to come back; a connection may be closed while it is idle, and no answer at all
    on one that was kept means just that.
    """
    if error.startswith("HTTP 429"):
        return 1.0
    return 0.01 if kept and error.startswith("RemoteDisconnected") else 0.0


def ask(connection: HTTPSConnection, method: str = "GET", path: str = PATH, body: dict[str, Any] | None = None) -> str:
    """What went wrong with one request; empty when nothing did."""
    kind = "merge-patch+json" if method == "PATCH" else "json"
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": f"application/{kind}"})
        answer = connection.getresponse()
        told = answer.read()
    except (OSError, HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    return "" if answer.status < 300 else f"HTTP {answer.status}: {told[:200].decode(errors='replace')}"
