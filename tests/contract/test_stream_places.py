"""Streams into stores of every kind, and through an SSH tunnel that is cut: nothing is missing, and nothing half."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from cpkit.backup import chain, open_store
from cpkit.backup.stores import Upload
from cpkit.backup.stores.directory import Directory
from cpkit.errors import CpkitError, Exit
from cpkit.etcd import MemberClient
from cpkit.ssh import connect
from tests.contract.backups import take
from tests.contract.etcd_members import EtcdMember
from tests.contract.s3_server import s3_server
from tests.contract.sshd import Sshd
from tests.contract.streaming import Credentials, Stream, streaming
from tests.contract.test_stream import OPENING, SEALED, await_that, credentials, take_now, write

PATIENCE = 60.0


def whole(stream: Stream, revision: int) -> None:
    """Every revision after the backup is in the store, once, in a chain that is proven link by link."""
    with open_store(str(stream.store)) as opened:
        found = chain.find(opened, stream.base)
        assert found
        records = [each.revision for one in chain.segments(opened, found, OPENING) for each in one.records()]
    assert records == list(range(stream.base.revision + 1, revision + 1))


def end(server: Sshd) -> None:
    for pid in server.sessions():
        with suppress(ProcessLookupError):  # the two halves of a session end together
            os.kill(pid, signal.SIGKILL)


def test_into_an_sftp_server_that_goes_away_in_between(
    client: MemberClient, member: EtcdMember, server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(server.root / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    location = f"sftp://127.0.0.1:{server.port}{tmp_path}/store"
    with open_store(location) as opened:
        base = take_now(client, opened, SEALED)
    with streaming(location, base, SEALED, credentials(member)) as stream:
        first = write(client, 20)
        await_that(lambda: stream.chain().last >= first, PATIENCE)
        pinned = server.root / "home" / ".ssh" / "known_hosts"
        aside = pinned.rename(pinned.with_name("aside"))  # so that it cannot be reached again for a while
        end(server)
        write(client, 20)
        await_that(lambda: any("the store fails" in text and "host key" in text for text in stream.said), PATIENCE)
        aside.rename(pinned)
        last = write(client, 20)
        await_that(lambda: stream.chain().last >= last, PATIENCE)
    assert any("the store is back" in text for text in stream.said)
    assert not any("another member" in text for text in stream.said)
    whole(stream, last)


def test_into_s3(client: MemberClient, member: EtcdMember, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(tmp_path) as bucket:
        for name, value in bucket.environment().items():
            monkeypatch.setenv(name, value)
        location = bucket.location("prod")
        with open_store(location) as opened:
            base = take_now(client, opened, SEALED)
        with streaming(location, base, SEALED, credentials(member)) as stream:
            first = write(client, 20)
            await_that(lambda: stream.chain().last >= first, PATIENCE)
            last = write(client, 20, "more")
            await_that(lambda: stream.chain().last >= last, PATIENCE)
        whole(stream, last)
        left = [path.name for path in (bucket.root / "backups" / "prod").iterdir() if path.is_file()]
        assert {name.rpartition(".")[2] for name in left} == {"cpkit", "json", "seg", "stream"}
        assert stream.chain().state.ended  # type: ignore[union-attr]


@dataclass(frozen=True)
class Tunnelled(Credentials):
    """Members behind an SSH server, as the nodes' are."""

    server: Sshd | None = None

    @contextmanager
    def member(self, turn: int) -> Iterator[MemberClient]:
        assert self.server, f"member {turn} has no server in front of it"
        with (
            connect(self.server.node(), timeout=5) as connection,
            connection.tunnel(self.ports[0]) as (host, port),
            MemberClient(host, port, ca=self.ca, cert=self.cert, key=self.key, timeout=5, node="cp1") as client,
        ):
            yield client


@pytest.mark.parametrize("frozen", [False, True], ids=["cut", "frozen"])
def test_through_a_tunnel_that_is_cut(
    client: MemberClient, member: EtcdMember, server: Sshd, tmp_path: Path, frozen: bool
) -> None:
    store = tmp_path / "store"
    with open_store(str(store)) as opened:
        base = take_now(client, opened, SEALED)
    direct = credentials(member)
    through = Tunnelled(direct.ports, direct.ca, direct.cert, direct.key, server)
    with streaming(store, base, SEALED, through) as stream:
        first = write(client, 20)
        await_that(lambda: stream.chain().last >= first, PATIENCE)
        with server.frozen() if frozen else nullcontext():
            if not frozen:
                end(server)
            write(client, 20)
            await_that(lambda: any("goes on from another member" in text for text in stream.said), PATIENCE)
        last = write(client, 20)
        await_that(lambda: stream.chain().last >= last, PATIENCE)
    whole(stream, last)


def test_a_backup_through_a_tunnel_that_is_cut_leaves_nothing(
    client: MemberClient, member: EtcdMember, server: Sshd, tmp_path: Path
) -> None:
    for number in range(100):  # more than can be on its way
        client.etcd3.put(f"/registry/large/{number}", os.urandom(300_000))
    direct = credentials(member)
    through = Tunnelled(direct.ports, direct.ca, direct.cert, direct.key, server)

    class Cutting(Directory):
        """Cuts the connection as the first bytes arrive."""

        @contextmanager
        def upload(self, expected: int) -> Iterator[Upload]:  # type: ignore[override]
            with super().upload(expected) as upload:
                end(server)
                yield upload

    with through.member(0) as tunnelled, pytest.raises(CpkitError) as caught:
        take(tunnelled, Cutting(tmp_path), SEALED)
    assert caught.value.code is Exit.UNKNOWN
    assert list(tmp_path.iterdir()) == []
