"""Connecting to a real sshd, and every way in which that fails."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cpkit.errors import Unreachable
from cpkit.ssh import AuthenticationFailed, HostKeyChanged, HostKeyUnknown, connect
from tests.contract.sshd import Sshd, free_port, keygen, sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="module")
def bastion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("bastion")) as server:
        yield server


@pytest.fixture(autouse=True)
def home(empty_home: Path) -> Path:
    """Whatever the user's own is, it has no say."""
    return empty_home


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path = tmp_path / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    while not path.exists():
        time.sleep(0.01)
    yield
    process.terminate()
    process.wait(5)


def greets(server: Sshd, **changes: object) -> bool:
    with connect(server.node(**changes)) as connection:
        return connection.run(["echo", "hello"], timeout=5).stdout == b"hello\n"


def test_refused(server: Sshd) -> None:
    with pytest.raises(Unreachable, match=r"cp1: SSH was refused by 127\.0\.0\.1:\d+") as caught:
        connect(server.node(port=free_port()))
    assert "ansible_port" in caught.value.hint


def test_name_that_does_not_resolve(server: Sshd) -> None:
    with pytest.raises(Unreachable, match=r"cp1: the name nowhere\.invalid cannot be resolved"):
        connect(server.node(host="nowhere.invalid"))


def test_no_answer(server: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as queue:
        for _ in range(2):  # a full queue drops what comes after it, as a firewall would
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"no answer from 127\.0\.0\.1:\d+ within 0\.5 s"):
            connect(server.node(port=listener.getsockname()[1]), timeout=0.5)
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(("says", "complaint"), [(b"", "no SSH greeting"), (b"HTTP/1.1 400\r\n\r\n", "SSH")])
def test_something_that_is_not_sshd(server: Sshd, says: bytes, complaint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()

        def greet() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(says)
                peer.settimeout(3)
                while peer.recv(4096):
                    pass

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(Unreachable, match=complaint):
            connect(server.node(port=listener.getsockname()[1]), timeout=0.6)
        assert time.monotonic() - began < 2.9, "the peer hangs up after 3 s"


def test_an_unknown_host_key_is_refused_until_it_is_pinned(server: Sshd, tmp_path: Path) -> None:
    pinned = tmp_path / "pinned"
    with pytest.raises(HostKeyUnknown) as caught:
        connect(server.node(known_hosts=pinned))
    printed = subprocess.run(
        ["ssh-keygen", "-lf", server.root / "host.pub"], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split()[1] in caught.value.message
    command = caught.value.hint.partition("pin it: ")[2]
    subprocess.run(["sh", "-c", command], check=True, stderr=subprocess.DEVNULL)
    assert greets(server, known_hosts=pinned)


def test_hashed_names_are_known(server: Sshd, tmp_path: Path) -> None:
    pinned = server.pin(tmp_path / "pinned")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", pinned], check=True, capture_output=True)
    assert "127.0.0.1" not in pinned.read_text()
    assert greets(server, known_hosts=pinned)


def test_a_changed_host_key_is_refused_until_it_is_forgotten(server: Sshd, tmp_path: Path) -> None:
    pinned, other = tmp_path / "pinned", keygen(tmp_path / "other").with_suffix(".pub").read_text()
    pinned.write_text(f"[127.0.0.1]:{server.port} {other}")
    with pytest.raises(HostKeyChanged, match="has changed") as caught:
        connect(server.node(known_hosts=pinned))
    command = caught.value.hint.partition("pin the new: ")[2]
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    with pytest.raises(HostKeyUnknown):
        connect(server.node(known_hosts=pinned))


def test_a_key_that_is_not_let_in(server: Sshd, tmp_path: Path) -> None:
    stranger = keygen(tmp_path / "stranger")
    with pytest.raises(AuthenticationFailed) as caught:
        connect(server.node(key_file=stranger))
    assert server.node().ssh.user in caught.value.message
    assert f"(keys tried: {stranger})" in caught.value.message
    assert "ssh-copy-id" in caught.value.hint


def test_without_any_key(server: Sshd) -> None:
    with pytest.raises(AuthenticationFailed, match="keys tried: none found"):
        connect(server.node(key_file=None))


def test_key_files_that_cannot_be_used(server: Sshd, tmp_path: Path) -> None:
    with pytest.raises(AuthenticationFailed, match="does not exist"):
        connect(server.node(key_file=tmp_path / "absent"))
    with pytest.raises(AuthenticationFailed, match="cannot be read: Is a directory"):
        connect(server.node(key_file=tmp_path))
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(AuthenticationFailed, match="is not a private key"):
        connect(server.node(key_file=tmp_path / "text"))


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_an_encrypted_key_asks_for_an_agent(server: Sshd, tmp_path: Path, kind: str) -> None:
    locked = keygen(tmp_path / "locked", passphrase="secret", kind=kind)
    with pytest.raises(AuthenticationFailed, match="is encrypted, and no agent holds it") as caught:
        connect(server.node(key_file=locked))
    assert caught.value.hint.endswith(f"ssh-add {locked}")


@pytest.mark.usefixtures("agent")
def test_an_agent_stands_in_for_an_encrypted_key(server: Sshd, tmp_path: Path) -> None:
    subprocess.run(["ssh-add", "-q", server.key], check=True)
    locked = shutil.copy(server.key, tmp_path / "locked")
    shutil.copy(server.key.with_suffix(".pub"), tmp_path / "locked.pub")
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", locked], check=True, capture_output=True)
    assert greets(server, key_file=Path(locked))


@pytest.mark.usefixtures("agent")
def test_an_agent_is_enough(server: Sshd) -> None:
    subprocess.run(["ssh-add", "-q", server.key], check=True)
    assert greets(server, key_file=None)


def test_the_clients_configuration_fills_what_the_inventory_leaves_out(server: Sshd, home: Path) -> None:
    (home / ".ssh/config").write_text(
        f"Host machine\n  HostName 127.0.0.1\n  Port {server.port}\n  IdentityFile {server.key}\n"
        f"  User {server.node().ssh.user}\n"
    )
    server.pin(home / ".ssh/known_hosts")
    assert greets(server, host="machine", port=22, user="", key_file=None, known_hosts=None)


def test_jump_hosts_are_passed_in_turn(server: Sshd, bastion: Sshd, home: Path) -> None:
    (home / ".ssh/config").write_text(f"Host 127.0.0.1\n  IdentityFile {bastion.key}\n  IdentityFile {server.key}\n")
    bastion.pin(home / ".ssh/known_hosts")
    server.pin(home / ".ssh/known_hosts")
    with connect(server.node(proxy_jump=f"127.0.0.1:{bastion.port},127.0.0.1:{server.port}")) as connection:
        client = connection.run(["sh", "-c", "echo $SSH_CONNECTION; echo $PPID"], timeout=5).stdout.split()
        assert int(client[3]) == server.port
        assert len(bastion.sessions()) >= 1
        with connection.tunnel(server.port) as address, socket.create_connection(address, timeout=5) as sock:
            assert sock.recv(4) == b"SSH-"


def test_a_failure_on_the_way_names_the_jump_host(server: Sshd, bastion: Sshd, home: Path) -> None:
    jump = f"127.0.0.1:{bastion.port}"
    with pytest.raises(HostKeyUnknown, match=rf"cp1: on the way, at the jump host {jump}: the host key"):
        connect(server.node(proxy_jump=jump))
    (home / ".ssh/config").write_text(f"Host 127.0.0.1\n  IdentityFile {bastion.key}\n")
    bastion.pin(home / ".ssh/known_hosts")
    with pytest.raises(Unreachable, match=r"cp1: the jump host cannot reach 127\.0\.0\.1:\d+: Connect"):
        connect(server.node(proxy_jump=jump, port=free_port()))


def test_a_failed_connection_leaves_nothing_open(server: Sshd, tmp_path: Path) -> None:
    def sockets() -> int:
        found = Path("/proc/self/fd").iterdir()
        return sum(str(fd.readlink()).startswith("socket") for fd in found if fd.is_symlink())

    connect(server.node()).close()
    before = sockets()
    for _ in range(3):
        with pytest.raises(HostKeyUnknown):
            connect(server.node(known_hosts=tmp_path / "none"))
    assert sockets() <= before
