"""Connections that are kept between two uses, against a real sshd."""

from collections.abc import Iterator

import pytest

from cpkit.errors import CpkitError, Unreachable
from cpkit.ssh import CommandTimeout, Connect, Connection, kept
from tests.contract.sshd import Sshd, sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def session(connection: Connection) -> str:
    """What tells one connection from another on the server's side."""
    return connection.run(["printenv", "SSH_CONNECTION"], timeout=5).stdout.decode()


def used(connect: Connect, server: Sshd) -> str:
    with connect(server.node(), timeout=5) as connection:
        return session(connection)


def test_the_next_use_has_the_same_connection(server: Sshd) -> None:
    with kept() as connect:
        assert used(connect, server) == used(connect, server)


def test_two_users_at_a_time_have_one_each_and_one_is_kept(server: Sshd) -> None:
    with kept() as connect:
        with connect(server.node(), timeout=5) as first, connect(server.node(), timeout=5) as second:
            sessions = {session(first), session(second)}
        assert len(sessions) == 2
        assert used(connect, server) in sessions
        assert [first.alive, second.alive].count(True) == 1


def test_one_that_something_went_wrong_with_is_made_anew(server: Sshd) -> None:
    with kept() as connect:
        before = used(connect, server)
        with pytest.raises(CpkitError), connect(server.node(), timeout=5) as connection:
            raise CpkitError("nothing to do with it, but who knows")
        assert not connection.alive
        assert (after := used(connect, server)) != before
        with connect(server.node(), timeout=5) as connection, pytest.raises(CommandTimeout):
            connection.run(["sleep", "30"], timeout=0.2)
        assert used(connect, server) not in {before, after}


def test_at_the_end_none_is_left_open(server: Sshd) -> None:
    with kept() as connect:
        with connect(server.node(), timeout=5) as idle:
            pass
        assert idle.alive
    assert not idle.alive
    with connect(server.node(), timeout=5) as late:
        assert late.alive
    assert not late.alive


def test_there_is_no_way_to_a_machine_that_is_not_there(server: Sshd) -> None:
    with kept() as connect, pytest.raises(Unreachable), connect(server.node(port=1), timeout=5):
        pass
