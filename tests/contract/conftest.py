"""What several modules share: one etcd, a client of it and an SFTP server for each, and a home that is empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cpkit.etcd import MemberClient
from tests.contract.etcd_members import EtcdMember, etcd_binary, loopback, wait_for_quorum
from tests.contract.sshd import Sshd, sshd


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMember]:
    with loopback(etcd_binary(), tmp_path_factory.mktemp("etcd")) as place:
        place.announce("cp1")
        member = place.start("cp1")
        wait_for_quorum(member)
        yield member


@pytest.fixture(scope="module")
def client(member: EtcdMember) -> Iterator[MemberClient]:
    with member.client(timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An SSH server that gives SFTP; its root holds a home whose settings lead to it."""
    with sshd(tmp_path_factory.mktemp("sshd"), more="Subsystem sftp internal-sftp\n") as server:
        home = server.root / "home" / ".ssh"
        home.mkdir(parents=True)
        server.pin(home / "known_hosts")
        (home / "config").write_text(f"Host 127.0.0.1\n  IdentityFile {server.key}\n")
        yield server


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and no agent, whatever the user's own are."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path
