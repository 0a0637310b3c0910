"""One stream into commands on several nodes, by real OpenSSH servers and its client."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cpkit.errors import CpkitError, Unreachable
from cpkit.ssh import CommandTimeout, Completed
from cpkit.ssh.pouring import Vessel, pour
from tests.contract.sshd import Sshd, sshd

PIECE = bytes(range(256)) * 1024
PIECES = 100
DIGEST = hashlib.sha256(PIECE * PIECES).hexdigest()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sshd, Sshd]]:
    with sshd(tmp_path_factory.mktemp("one")) as one, sshd(tmp_path_factory.mktemp("two")) as two:
        yield one, two


@pytest.fixture(autouse=True)
def home(empty_home: Path) -> Path:
    """Whatever the user's own is, it has no say."""
    return empty_home


def vessel(server: Sshd, name: str, command: str = "sha256sum", **changes: object) -> Vessel:
    return Vessel(replace(server.node(**changes), name=name), command, command.split()[0])


def stream(pieces: int = PIECES) -> Iterator[bytes]:
    return (PIECE for _ in range(pieces))


def digest(done: Completed | CpkitError) -> str:
    assert isinstance(done, Completed), done
    return done.stdout.split()[0].decode()


def test_all_are_given_the_same_and_it_is_asked_for_once(servers: tuple[Sshd, Sshd]) -> None:
    one, two = servers
    asked = []

    def counted() -> Iterator[bytes]:
        for piece in stream():
            asked.append(len(piece))
            yield piece

    found = pour([vessel(one, "cp1"), vessel(two, "cp2"), vessel(two, "cp3")], counted(), timeout=60)
    assert {name: digest(done) for name, done in found.items()} == dict.fromkeys(("cp1", "cp2", "cp3"), DIGEST)
    assert len(asked) == PIECES


def test_one_that_fails_keeps_no_other_from_its_end(servers: tuple[Sshd, Sshd], tmp_path: Path) -> None:
    one, two = servers
    vessels = [
        vessel(one, "cp1"),
        vessel(two, "cp2", "sh -c 'head -c 5; echo full >&2; exit 4'"),
        vessel(two, "cp3", known_hosts=tmp_path / "none"),
        vessel(two, "cp4", port=1),
    ]
    found = pour(vessels, stream(), timeout=60)
    assert digest(found["cp1"]) == DIGEST
    assert found["cp2"] == Completed(4, PIECE[:5], b"full\n")
    for name, why in (("cp3", "Host key verification failed"), ("cp4", "Connection refused")):
        failed = found[name]
        assert isinstance(failed, Unreachable)
        assert failed.node == name
        assert why in failed.message


def test_a_node_that_is_lost_on_the_way_is_told_and_the_others_go_on(servers: tuple[Sshd, Sshd]) -> None:
    one, two = servers

    def cut() -> Iterator[bytes]:
        for number, piece in enumerate(stream()):
            if number == PIECES // 2:
                for pid in two.sessions():
                    os.kill(pid, signal.SIGKILL)
            yield piece

    found = pour([vessel(one, "cp1"), vessel(two, "cp2")], cut(), timeout=60)
    assert digest(found["cp1"]) == DIGEST
    assert isinstance(found["cp2"], Unreachable)
    assert "SSH broke while running `sha256sum`" in str(found["cp2"])


def test_one_that_takes_nothing_is_given_up(servers: tuple[Sshd, Sshd], monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = servers
    monkeypatch.setattr("cpkit.ssh.pouring.PATIENCE", 1.0)
    found = pour([vessel(one, "cp1"), vessel(two, "cp2", "sleep 60")], stream(), timeout=60)
    assert digest(found["cp1"]) == DIGEST
    assert isinstance(found["cp2"], Unreachable)
    assert "took nothing for 1 s" in found["cp2"].message


def test_one_that_does_not_end_in_time_is_ended(servers: tuple[Sshd, Sshd]) -> None:
    one, _ = servers
    began = time.monotonic()
    done = pour([vessel(one, "cp1", "sh -c 'cat >/dev/null; sleep 60'")], stream(3), timeout=2)["cp1"]
    assert isinstance(done, CommandTimeout)
    assert time.monotonic() - began < 20


def test_nothing_is_left_of_what_was_broken_off(servers: tuple[Sshd, Sshd], tmp_path: Path) -> None:
    one, two = servers
    arrived = tmp_path / "arrived"

    def broken() -> Iterator[bytes]:
        yield PIECE
        raise CpkitError("the store is gone")

    before = threading.active_count()
    with pytest.raises(CpkitError, match="the store is gone"):
        pour([vessel(one, "cp1", f"cat > {arrived}"), vessel(two, "cp2")], broken(), timeout=60)
    assert threading.active_count() == before
    deadline = time.monotonic() + 10
    while one.sessions() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert one.sessions() == []


def test_jump_hosts_are_passed(servers: tuple[Sshd, Sshd], home: Path) -> None:
    bastion, server = servers
    (home / ".ssh/config").write_text(f"Host 127.0.0.1\n  IdentityFile {bastion.key}\n")
    bastion.pin(home / ".ssh/known_hosts")
    through = vessel(
        server, "cp1", "sh -c 'cat >/dev/null; echo $SSH_CONNECTION'", proxy_jump=f"127.0.0.1:{bastion.port}"
    )
    done = pour([through], stream(3), timeout=30)["cp1"]
    assert isinstance(done, Completed), done
    assert done.stdout.split()[3] == str(server.port).encode()
