"""A local port that leads through an SSH connection; imported when the first one is opened."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import paramiko

from cpkit.ssh.execute import FAILURES

OPEN_SECONDS = 10.0
CHUNK = 1 << 20
WINDOW = 8 << 20  # bytes on their way; distance, or a reader that is busy for a moment, would make a smaller one slow
PACKET = 1 << 17  # bytes of a packet: each costs the same work in Python, whatever its size; sshd sends up to 256 KiB


@contextmanager
def open_tunnel(transport: paramiko.Transport, host: str, port: int) -> Iterator[tuple[str, int]]:
    """A listening address on loopback; every connection to it becomes one to host:port as the far side sees it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tunnel = _Tunnel(listener, transport, (host, port))
        threading.Thread(target=tunnel.accept, daemon=True).start()
        try:
            yield listener.getsockname()[:2]
        finally:
            tunnel.shut()


@dataclass(frozen=True)
class _Tunnel:
    listener: socket.socket
    transport: paramiko.Transport
    target: tuple[str, int]
    open: set[socket.socket] = field(default_factory=set)

    def accept(self) -> None:
        """Serve every connection, until the listener is shut."""
        while True:
            try:
                near, peer = self.listener.accept()
            except OSError:
                return
            self.open.add(near)
            threading.Thread(target=self._serve, args=(near, peer), daemon=True).start()

    def shut(self) -> None:
        """End the listener and every connection; wakes whoever waits on one."""
        for sock in (self.listener, *tuple(self.open)):
            _shut(sock)

    def _serve(self, near: socket.socket, peer: tuple[str, int]) -> None:
        # When nothing listens over there, or SSH is gone, the near side just sees its connection closed.
        with suppress(*FAILURES), near:
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._channel(peer) as far:
                back = threading.Thread(target=_copy, args=(far.recv, near.sendall, lambda: _shut(near)), daemon=True)
                back.start()
                _copy(near.recv, far.sendall, far.shutdown_write)
                back.join()
        self.open.discard(near)

    def _channel(self, peer: tuple[str, int]) -> paramiko.Channel:
        return self.transport.open_channel(
            "direct-tcpip", self.target, peer, window_size=WINDOW, max_packet_size=PACKET, timeout=OPEN_SECONDS
        )


def _copy(receive: Callable[[int], bytes], send: Callable[[bytes], object], finish: Callable[[], object]) -> None:
    with suppress(*FAILURES):
        while data := receive(CHUNK):
            send(data)
    with suppress(*FAILURES):
        finish()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
