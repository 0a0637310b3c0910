"""What several modules start anew for themselves: one etcd, a client of it, and an SFTP server."""

from collections.abc import Iterator

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
