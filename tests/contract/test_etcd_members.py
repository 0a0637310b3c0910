"""MemberClient against real etcd members with mTLS."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from cpkit.etcd import (
    EtcdError,
    EtcdRefused,
    EtcdTimeout,
    EtcdUnavailable,
    Member,
    MemberClient,
    MemberStatus,
)
from cpkit.ssh import connect
from tests.contract.etcd_members import (
    Authority,
    EtcdMember,
    Loopback,
    etcd_binary,
    free_port,
    loopback,
    wait_for_quorum,
)
from tests.contract.sshd import sshd

T = TypeVar("T")
NAMES = ("cp1", "cp2", "cp3")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with loopback(etcd_binary(), tmp_path_factory.mktemp("etcd")) as place:
        yield place


@pytest.fixture(scope="module")
def members(place: Loopback) -> tuple[EtcdMember, ...]:
    for name in NAMES:
        place.announce(name)
    started = tuple(place.start(name) for name in NAMES)
    for member in started:
        wait_for_quorum(member)
    return started


@pytest.fixture(scope="module")
def clients(members: tuple[EtcdMember, ...]) -> Iterator[dict[int, MemberClient]]:
    """A client of each member, by member ID."""
    opened = [member.client() for member in members]
    yield {client.status().member_id: client for client in opened}
    for client in opened:
        client.close()


@pytest.fixture
def one(clients: dict[int, MemberClient]) -> MemberClient:
    return next(iter(clients.values()))


def eventually(attempt: Callable[[], T], *, seconds: float = 15.0) -> T:
    """The first answer that is not an error."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except EtcdError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_members_agree_on_leader_and_cluster(clients: dict[int, MemberClient]) -> None:
    seen = [client.status() for client in clients.values()]
    assert len({status.cluster_id for status in seen}) == 1
    assert {status.leader for status in seen} < set(clients)
    assert [status.is_leader for status in seen].count(True) == 1
    assert not any(status.is_learner or status.errors for status in seen)


def test_status_carries_every_field_of_a_current_etcd(one: MemberClient) -> None:
    def settled() -> MemberStatus:
        # A new cluster calls its storage 3.5 until its leader has looked at all members' versions.
        status = one.status()
        if status.storage_version != ".".join([*status.version.split(".")[:2], "0"]):
            raise EtcdError(f"its storage is still {status.storage_version}")
        return status

    status = eventually(settled)
    assert isinstance(status, MemberStatus)
    assert status.raft_term >= 2
    assert status.raft_index >= status.raft_applied_index > 0
    assert status.db_size >= status.db_size_in_use > 0
    assert status.quota == 2 << 30


@pytest.mark.parametrize("linearizable", [True, False])
def test_member_list(one: MemberClient, clients: dict[int, MemberClient], linearizable: bool) -> None:
    rows = one.members(linearizable=linearizable)
    assert {row.id for row in rows} == set(clients)
    assert sorted(row.name for row in rows) == list(NAMES)
    assert all(row.peer_urls and row.client_urls and not row.is_learner for row in rows)


def test_keys_and_hashes_are_the_same_on_every_member(one: MemberClient, clients: dict[int, MemberClient]) -> None:
    assert one.get(b"absent") is None
    one.etcd3.put("colour", "blue")
    revision = one.probe()
    found = one.get(b"colour")
    assert found is not None
    assert (found.value, found.mod_revision) == (b"blue", revision)
    assert all(client.get(b"colour") == found for client in clients.values())
    hashes = [client.hash_kv(revision) for client in clients.values()]
    assert {row.member_id for row in hashes} == set(clients)
    assert len({(row.revision, row.hash, row.compact_revision) for row in hashes}) == 1
    assert hashes[0].revision == revision


def test_compaction_forgets_older_revisions(one: MemberClient) -> None:
    one.etcd3.put("count", "1")
    one.etcd3.put("count", "2")
    revision = one.probe()
    one.compact(revision, physical=True)
    one.etcd3.put("count", "3")
    assert one.hash_kv().compact_revision == revision
    with pytest.raises(EtcdRefused, match="compacted"):
        one.hash_kv(revision - 1)


def test_snapshot_is_a_database_with_its_own_checksum(one: MemberClient) -> None:
    for number in range(40):
        one.etcd3.put(f"filler/{number}", "x" * 20_000)
    data = b"".join(one.snapshot(timeout=10))
    assert len(data) > 800_000
    assert data[-32:] == hashlib.sha256(data[:-32]).digest()


def test_defragment(one: MemberClient) -> None:
    one.defragment(timeout=10)
    status = one.status()
    assert status.db_size_in_use <= status.db_size


def test_alarm_is_listed_until_it_is_disarmed(one: MemberClient) -> None:
    assert one.alarms() == ()
    one.etcd3.create_alarm(one.status().member_id)
    assert [(alarm.member_id, alarm.kind) for alarm in one.alarms()] == [(one.status().member_id, "NOSPACE")]
    one.etcd3.disarm_alarm(one.status().member_id)
    assert one.alarms() == ()


def test_only_the_leader_hands_over_leadership(clients: dict[int, MemberClient]) -> None:
    leader = next(iter(clients.values())).status().leader
    target = next(member for member in clients if member != leader)
    with pytest.raises(EtcdRefused, match="not leader"):
        clients[target].move_leader(target)
    clients[leader].move_leader(target)
    assert clients[target].status().leader == target


def test_a_frozen_member_costs_no_more_than_the_deadline(
    members: tuple[EtcdMember, ...], clients: dict[int, MemberClient]
) -> None:
    frozen = members[2]
    with frozen.paused(), frozen.client(timeout=0.5) as new:
        known = next(client for client in clients.values() if client.node == frozen.name)
        calls: tuple[Callable[[], object], ...] = (
            new.status,
            lambda: known.status(timeout=0.5),
            lambda: known.probe(timeout=0.5),
            lambda: list(known.snapshot(timeout=0.5)),
        )
        for call in calls:
            began = time.monotonic()
            with pytest.raises(EtcdTimeout, match=r"cp3: etcd did not answer within 0\.5 s"):
                call()
            assert 0.4 < time.monotonic() - began < 10
    assert eventually(known.probe) > 0


def test_without_quorum_status_answers_and_linearizable_reads_end(
    members: tuple[EtcdMember, ...], clients: dict[int, MemberClient]
) -> None:
    survivor = next(client for client in clients.values() if client.node == "cp1")
    with members[1].paused(), members[2].paused():
        with pytest.raises((EtcdTimeout, EtcdUnavailable)):
            survivor.probe(timeout=0.5)
        assert survivor.status(timeout=0.5).member_id
        assert len(survivor.members(linearizable=False, timeout=0.5)) == 3
        assert survivor.hash_kv(timeout=0.5).hash
        assert survivor.get(b"colour", serializable=True, timeout=0.5)
        with pytest.raises((EtcdTimeout, EtcdUnavailable)):
            survivor.alarms(timeout=0.5)
    eventually(survivor.probe)


def asks(client: MemberClient) -> object:
    return client.status()


def streams(client: MemberClient) -> object:
    """The way that a snapshot goes."""
    return b"".join(client.snapshot(timeout=5))


@pytest.mark.parametrize("call", [asks, streams])
def test_refusals_say_which_side_is_wrong(
    members: tuple[EtcdMember, ...], call: Callable[[MemberClient], object]
) -> None:
    member = members[0]
    stranger, ca = Authority("stranger"), member.authority.ca()
    cert, key = member.authority.leaf("client")
    foreign_cert, foreign_key = stranger.leaf("client")

    def complaint(port: int, ca: bytes, cert: bytes, key: bytes, server_name: str = "") -> str:
        with (
            MemberClient(
                "127.0.0.1", port, ca=ca, cert=cert, key=key, timeout=2, node="cp1", server_name=server_name
            ) as client,
            pytest.raises(EtcdUnavailable) as caught,
        ):
            call(client)
        return f"{caught.value} {caught.value.hint}"

    assert "etcd did not accept the client certificate" in complaint(member.port, ca, foreign_cert, foreign_key)
    assert "not signed by the given CA" in complaint(member.port, stranger.ca(), cert, key)
    assert "lacks the name" in complaint(member.port, ca, cert, key, server_name="cp2")
    assert "cannot be used" in complaint(member.port, ca, cert, foreign_key)
    assert "refused the connection" in complaint(free_port(), ca, cert, key)
    with member.client(server_name="cp1") as client:
        assert call(client)


def test_a_closed_client_says_so(members: tuple[EtcdMember, ...]) -> None:
    client = members[0].client()
    client.status()
    client.close()
    with pytest.raises(EtcdUnavailable, match="closed"):
        client.status()


def test_a_connected_client_left_open_ends_without_a_word(place: Loopback, members: tuple[EtcdMember, ...]) -> None:
    home = place.root / "cp1"
    code = (
        "import sys; from pathlib import Path; from cpkit.etcd import MemberClient\n"
        "home, port = Path(sys.argv[1]), int(sys.argv[2])\n"
        "ca, cert, key = ((home / name).read_bytes() for name in ('ca.crt', 'tls.crt', 'tls.key'))\n"
        "client = MemberClient('127.0.0.1', port, ca=ca, cert=cert, key=key, timeout=2)\n"
        "chunks = iter(client.snapshot(timeout=5)); next(chunks); print(client.status().version)"
    )
    argv = [sys.executable, "-c", code, str(home), str(members[0].port)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_member_is_asked_through_a_tunnel(members: tuple[EtcdMember, ...], tmp_path: Path) -> None:
    member = members[0]
    with sshd(tmp_path) as server, connect(server.node()) as connection:
        with connection.tunnel(member.port) as (_, port), replace(member, port=port).client() as client:
            assert len(client.members()) == 3
            assert len(b"".join(client.snapshot(timeout=10))) > 20_000
        with (
            connection.tunnel(free_port()) as (_, port),
            replace(member, port=port).client() as client,
            pytest.raises(EtcdUnavailable, match="cp1: etcd closed the connection"),
        ):
            client.status()


def test_learner_is_added_promoted_and_removed(
    place: Loopback, one: MemberClient, members: tuple[EtcdMember, ...]
) -> None:
    peer_url = place.announce("cp4")
    # etcd refuses to change members for 5 s after one of them was away.
    learner: Member = eventually(lambda: one.add_learner(peer_url))
    assert (learner.is_learner, learner.name, learner.peer_urls) == (True, "", (peer_url,))
    with pytest.raises(EtcdRefused, match="in sync with leader"):
        one.promote(learner.id)

    started = place.start("cp4", state="existing")
    with started.client() as client:  # the same client sees it come up
        assert eventually(client.status, seconds=10).is_learner
        voters = eventually(lambda: one.promote(learner.id))
        assert len(voters) == 4
        assert not any(row.is_learner for row in voters)
        assert eventually(client.probe) > 0

    assert len(eventually(lambda: one.remove(learner.id))) == 3
    with pytest.raises(EtcdRefused, match="member not found"):
        one.remove(learner.id)
