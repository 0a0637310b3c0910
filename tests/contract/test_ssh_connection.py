"""Connection against a real sshd: commands, files, tunnels, deadlines."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from paramiko import Message, Transport
from paramiko.common import cMSG_CHANNEL_DATA, cMSG_CHANNEL_EOF

from cpkit.errors import CpkitError, Unreachable
from cpkit.inventory import Node
from cpkit.ssh import CommandTimeout, Connection, connect, fan_out
from tests.contract.sshd import Sshd, free_port, sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="module")
def connection(server: Sshd) -> Iterator[Connection]:
    with connect(server.node()) as connection:
        yield connection


def test_a_command_ends_with_its_output_and_code(connection: Connection) -> None:
    done = connection.run(["sh", "-c", "cat; echo bad >&2; exit 3"], stdin=b"in\0put", timeout=5)
    assert (done.rc, done.stdout, done.stderr) == (3, b"in\0put", b"bad\n")


def test_arguments_arrive_as_they_are(connection: Connection) -> None:
    odd = ["a b", "", "$HOME", "'\"", ";ls", "*", "ünï\ncode"]
    done = connection.run(["printf", "%s\\0", *odd], timeout=5)
    assert done.stdout.decode().split("\0")[:-1] == odd


def test_much_data_flows_on_all_streams_at_once(connection: Connection) -> None:
    data = bytes(range(256)) * 20_000
    done = connection.run(["sh", "-c", "tee /dev/stderr"], stdin=data, timeout=20)
    assert done.stdout == data
    assert done.stderr == data


def test_input_that_is_not_read_does_no_harm(connection: Connection) -> None:
    assert connection.run(["true"], stdin=b"x" * 5_000_000, timeout=10).rc == 0


@pytest.mark.parametrize("stdin", [b"", b"x" * 100_000])
def test_a_command_that_ends_before_its_input_is_sent_ends_no_connection(
    server: Sshd, stdin: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Transport._send_user_message  # type: ignore[attr-defined]

    def send_late(transport: Transport, message: Message) -> None:
        late = threading.current_thread() not in (threading.main_thread(), transport)  # who feeds a command
        if late and message.asbytes()[:1] in (cMSG_CHANNEL_DATA, cMSG_CHANNEL_EOF):
            time.sleep(0.2)
        send(transport, message)

    monkeypatch.setattr(Transport, "_send_user_message", send_late)
    with connect(server.node()) as connection, ThreadPoolExecutor(1) as beside:
        longer = beside.submit(connection.run, ["sh", "-c", f"touch {tmp_path}/begun; sleep 2"], timeout=20)
        connection.run(["sh", "-c", f"until test -e {tmp_path}/begun; do :; done"], timeout=20)
        assert connection.run(["sh", "-c", "exit 3"], stdin=stdin, timeout=20).rc == 3
        assert longer.result().rc == 0, "sshd has closed the connection"


def test_a_command_killed_by_a_signal_is_told_apart(connection: Connection) -> None:
    assert connection.run(["sh", "-c", "kill -9 $$"], timeout=5).rc == -1


def test_commands_run_side_by_side_on_one_connection(connection: Connection) -> None:
    with ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        done = list(pool.map(lambda n: connection.run(["sh", "-c", f"sleep 1; echo {n}"], timeout=20), range(8)))
    assert [row.stdout for row in done] == [f"{n}\n".encode() for n in range(8)]
    assert time.monotonic() - began < 7, "one after the other they take 8 s"


def test_reads_a_file_and_says_why_it_cannot(connection: Connection, server: Sshd) -> None:
    path = server.root / "host.pub"
    assert connection.read(str(path), timeout=5) == path.read_bytes()
    with pytest.raises(CpkitError, match="cp1: cannot read /absent: No such file or directory"):
        connection.read("/absent", timeout=5)


def test_a_command_that_outlives_its_timeout_is_named(server: Sshd) -> None:
    with connect(server.node()) as connection:
        began = time.monotonic()
        with pytest.raises(CommandTimeout, match=r"cp1: `sleep 30` did not end within 0\.4 s"):
            connection.run(["sleep", "30"], timeout=0.4)
        assert time.monotonic() - began < 20
        with pytest.raises(Unreachable, match="SSH broke while running `true`"):
            connection.run(["true"], timeout=1)


def test_a_frozen_sshd_holds_nothing_up(server: Sshd) -> None:
    with connect(server.node()) as connection, server.frozen():
        began = time.monotonic()
        with pytest.raises(CommandTimeout, match="did not end within"):
            connection.run(["true"], stdin=b"x" * 10_000_000, timeout=0.4)
        with pytest.raises(Unreachable, match=r"no SSH greeting from 127\.0\.0\.1:\d+ within 0\.4 s"):
            connect(server.node(), timeout=0.4)
        assert time.monotonic() - began < 20


def test_a_lost_connection_is_no_exit_code(server: Sshd) -> None:
    with connect(server.node()) as connection:
        threading.Timer(0.3, connection.close).start()
        with pytest.raises(Unreachable, match="SSH broke while running `sleep 30`"):
            connection.run(["sleep", "30"], timeout=5)


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets, in capitals, once the client has finished."""

    def serve(peer: socket.socket) -> None:
        with peer:
            peer.sendall(b"".join(iter(lambda: peer.recv(65536), b"")).upper())

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def ask(address: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(address, timeout=10) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_a_tunnel_carries_many_connections(connection: Connection, echo: int) -> None:
    with connection.tunnel(echo) as address, ThreadPoolExecutor(8) as pool:
        assert address[0] == "127.0.0.1"
        answers = pool.map(lambda n: ask(address, f"abc{n}".encode() * 50_000), range(8))
        assert list(answers) == [f"ABC{n}".encode() * 50_000 for n in range(8)]


def test_a_closed_tunnel_leaves_no_port_and_no_thread(server: Sshd, echo: int) -> None:
    with connect(server.node()) as connection:
        before = threading.active_count()
        with connection.tunnel(echo) as address:
            idle = socket.create_connection(address, timeout=5)
            assert ask(address, b"abc") == b"ABC"
        with idle:
            idle.settimeout(5)
            assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=1)
        deadline = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threading.active_count() == before


def test_a_tunnel_to_a_closed_port_closes_the_connection(connection: Connection) -> None:
    with connection.tunnel(free_port()) as address:
        assert ask(address, b"") == b""


def test_five_nodes_are_connected_at_once(server: Sshd) -> None:
    nodes = [Node(f"cp{n}", "127.0.0.1", "control_plane", server.node().ssh) for n in range(5)]

    def hostname(node: Node) -> bytes:
        with connect(node) as connection:
            return connection.run(["hostname"], timeout=20).stdout

    found = fan_out(nodes, hostname, deadline=20)
    assert list(found) == [node.name for node in nodes]
    assert len(set(found.values())) == 1
