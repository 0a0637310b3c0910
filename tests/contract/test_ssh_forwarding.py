"""A local socket that leads to a port of a node, by a real sshd and OpenSSH's client."""

import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpkit.errors import Unreachable
from cpkit.ssh import connect
from cpkit.ssh.forwarding import open_forward
from tests.contract.sshd import Sshd, free_port, sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets once the client has finished."""

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer, peer.makefile("rb") as said:
                peer.sendall(said.read().upper())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def ask(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_it_leads_there_for_its_owner_alone_and_leaves_nothing(server: Sshd, echo: int) -> None:
    with connect(server.node()) as connection, connection.forward(echo) as path:
        assert ask(path, b"abc" * 50_000) == b"ABC" * 50_000
        assert ask(path, b"again") == b"AGAIN"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()
    deadline = time.monotonic() + 10
    while server.sessions() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.sessions() == []


def test_a_port_that_nobody_listens_on_closes_the_connection(server: Sshd) -> None:
    with open_forward(server.node(), free_port()) as path:
        assert ask(path, b"") == b""


def test_why_there_is_no_way_is_told(server: Sshd, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"cp1: .* Host key verification failed"):
        open_forward(server.node(known_hosts=tmp_path / "none"), 1).__enter__()
    with pytest.raises(Unreachable, match=r"cp1: .* Connection refused"):
        open_forward(server.node(port=free_port()), 1).__enter__()


def test_it_ends_with_the_process_that_opened_it(server: Sshd, echo: int) -> None:
    script = """
import sys, time
from pathlib import Path
from cpkit.inventory import Node, SshTarget
from cpkit.ssh.forwarding import open_forward
port, user, key, known = int(sys.argv[1]), *sys.argv[2:]
target = SshTarget("127.0.0.1", port=port, user=user, key_file=Path(key), known_hosts=Path(known))
with open_forward(Node("cp1", "127.0.0.1", "control_plane", target), 1):
    print("open", flush=True)
    time.sleep(60)
"""
    ssh = server.node().ssh
    words = [sys.executable, "-c", script, str(ssh.port), ssh.user, str(ssh.key_file), str(ssh.known_hosts)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        assert server.sessions()
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while server.sessions() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.sessions() == []
