"""What a watch counts, against a real server on loopback that goes away and comes back."""

import datetime as dt
import http.server
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cpkit.inventory import Endpoint
from cpkit.pki.certificates import Profile, certificate_to_pem, issue, new_authority
from cpkit.pki.keys import key_to_pem, new_key
from cpkit.watch import Availability, Watch
from cpkit.watch.following import WATCHED

AUTHORITY = new_authority("kubernetes", key_type="ecdsa-p256", days=1)
OTHER = new_authority("kubernetes", key_type="ecdsa-p256", days=1)


class Server:
    """An API server as a watch sees it: /livez over TLS, on a port that stays the same."""

    def __init__(self, certificate: Path) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.status = 200
        self.answered = threading.Event()
        self.followed = threading.Semaphore(0)  # a watch has begun
        self.ends = threading.Semaphore(0)  # one watch ends

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)

    @contextmanager
    def up(self, idle: float = 0.0) -> Iterator[None]:
        """Serve; connections are kept if they may be idle, and closed when they have been for so many seconds."""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1" if idle else "HTTP/1.0"
            timeout = idle or None

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

            def do_GET(self) -> None:
                if self.path == WATCHED:
                    self.follow()
                    return
                self.send_response(outer.status if self.path == "/livez" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                outer.answered.set()

            def follow(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}\n")
                outer.followed.release()
                outer.ends.acquire()

        server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.socket = self._context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()

    def wait(self) -> None:
        """Until it has answered once more."""
        self.answered.clear()
        assert self.answered.wait(5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    key = new_key("ecdsa-p256")
    profile = Profile("kube-apiserver", sans=("127.0.0.1",), server=True, client=False)
    path = tmp_path_factory.mktemp("watch") / "server.pem"
    path.write_text(certificate_to_pem(issue(AUTHORITY, profile, key=key, days=1)) + key_to_pem(key))
    return Server(path)


def test_an_api_that_stays_up_has_no_gap(server: Server) -> None:
    with server.up():
        watch = Watch(server.endpoint, AUTHORITY.certificate_pem).start()
        for _ in range(8):
            server.wait()
        seen = watch.stop()
    assert seen.requests >= 2
    assert seen.kept.requests >= 2
    assert (seen.failed, seen.longest_gap) == (seen.kept.failed, seen.kept.longest_gap) == (0, 0.0)
    assert seen.followed is None


def test_an_outage_is_counted_and_measured_from_success_to_success(server: Server) -> None:
    watch = Watch(server.endpoint, AUTHORITY.certificate_pem)
    with server.up():
        watch.start()
        server.wait()
    down = time.monotonic()
    time.sleep(0.35)  # the outage itself
    with server.up():
        server.wait()
        outage = time.monotonic() - down
        server.wait()
        seen = watch.stop()
    assert 2 <= seen.failed < seen.requests
    assert 0.35 <= seen.longest_gap <= outage + 0.3
    assert f"{seen.failed} of {seen.requests} requests failed" in str(seen)


def test_an_outage_that_never_ends_is_measured_to_the_end(server: Server) -> None:
    watch = Watch(server.endpoint, AUTHORITY.certificate_pem).start()
    time.sleep(0.25)  # the outage itself
    seen = watch.stop()
    assert seen.failed == seen.requests > 1
    assert seen.longest_gap >= 0.2


def test_an_api_that_says_it_is_not_alive_counts_as_failed(server: Server) -> None:
    server.status = 500
    try:
        with server.up():
            watch = Watch(server.endpoint, AUTHORITY.certificate_pem).start()
            server.wait()
            server.wait()
            seen = watch.stop()
    finally:
        server.status = 200
    assert seen.failed == seen.requests >= 1


def test_a_server_of_another_authority_is_not_the_api(server: Server) -> None:
    with server.up():
        watch = Watch(server.endpoint, OTHER.certificate_pem).start()
        time.sleep(0.15)  # one or two requests
        seen = watch.stop()
    assert seen.failed == seen.requests >= 1


def test_a_server_that_takes_connections_and_says_nothing_does_not_hold_the_watch_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        watch = Watch(Endpoint("127.0.0.1", silent.getsockname()[1]), AUTHORITY.certificate_pem).start()
        began = dt.datetime.now(dt.UTC)
        silent.settimeout(5)
        for _ in range(2):  # a new one, and the one that would be kept
            connection, _ = silent.accept()
            connection.close()
        seen = watch.stop()
    assert seen.failed >= 1
    assert dt.datetime.now(dt.UTC) - began < dt.timedelta(seconds=5)


def test_a_node_that_is_away_in_its_own_turn_has_not_failed_and_one_that_is_away_in_another_has(server: Server) -> None:
    nodes = {"cp1": server.endpoint, "cp2": server.endpoint}
    watch = Watch(server.endpoint, AUTHORITY.certificate_pem, nodes)
    with server.up():
        watch.start()
        for _ in range(6):
            server.wait()
        watch.touching("cp1")
    time.sleep(1.0)  # the outage itself; each node is asked twice in it
    with server.up():
        for _ in range(6):
            server.wait()
        watch.touching("")
        seen = watch.stop()
    one, two = seen.nodes["cp1"], seen.nodes["cp2"]
    assert (one.failed, two.away) == (0, 0)
    assert one.away >= 1
    assert two.failed >= 1
    assert one.reached
    assert two.reached
    assert (sum(two.series.failed), sum(one.series.away)) == (two.failed, one.away)
    assert seen.series is not None
    assert (sum(seen.series.requests), sum(seen.series.failed)) == (seen.requests, seen.failed)


def test_a_node_that_never_answered_is_not_called_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = Endpoint("127.0.0.1", closed.getsockname()[1])
    seen = Watch(nowhere, AUTHORITY.certificate_pem, {"cp1": nowhere}).start().stop()
    assert not seen.nodes["cp1"].reached


def asked_often(server: Server, idle: float) -> Availability:
    """What a watch saw of a server that closes connections which have been idle for so many seconds."""
    with server.up(idle):
        watch = Watch(server.endpoint, AUTHORITY.certificate_pem).start()
        for _ in range(8):
            server.wait()
        return watch.stop()


def test_a_connection_that_is_closed_while_idle_is_made_anew_and_nothing_has_failed(server: Server) -> None:
    seen = asked_often(server, 0.02)
    assert (seen.kept.failed, seen.failed) == (0, 0)
    assert seen.kept.reopened >= 1


def test_a_connection_is_kept(server: Server) -> None:
    seen = asked_often(server, 5)
    assert seen.kept.requests >= 2
    assert (seen.kept.failed, seen.kept.reopened) == (0, 0)


def following(server: Server) -> Watch:
    """A watch that follows a resource as well, once it does."""
    administrator = ssl.create_default_context(cadata=AUTHORITY.certificate_pem)
    watch = Watch(server.endpoint, AUTHORITY.certificate_pem, {}, administrator).start()
    assert server.followed.acquire(timeout=5)
    return watch


def test_a_watch_that_ends_is_taken_up_again_and_the_time_without_one_is_told(server: Server) -> None:
    with server.up():
        watch = following(server)
        server.ends.release()
        assert server.followed.acquire(timeout=5)
        seen = watch.stop()
        server.ends.release()
    assert seen.followed is not None
    assert (seen.followed.cut, seen.followed.failed) == (1, 0)
    assert 0 < seen.followed.longest_gap < 5
    assert "a watch was cut 1 time" in str(seen)


def test_a_watch_that_does_not_come_back_is_measured_to_the_end(server: Server) -> None:
    with server.up():
        watch = following(server)
    server.ends.release()
    time.sleep(0.5)  # the time without one
    seen = watch.stop()
    assert seen.followed is not None
    assert seen.followed.cut == 1
    assert seen.followed.failed >= 1
    assert seen.followed.longest_gap >= 0.2
