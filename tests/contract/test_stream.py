"""Streams of a real etcd: followed, cut off, changed, and replayed to the very keys that were there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest

from cpkit.backup import (
    BackupError,
    DamagedBackup,
    Identities,
    Opening,
    Passphrase,
    Recipients,
    Sealing,
    Sidecar,
    Store,
    WrongKey,
    chain,
    open_bundle,
    open_store,
    segment,
)
from cpkit.backup.growing import CLOSE
from cpkit.backup.moment import Wish, resolve
from cpkit.backup.replay import Replayed, replayed
from cpkit.backup.sandbox.scratch import PREFIX
from cpkit.backup.scratch import MEMORY, scratch_etcd
from cpkit.errors import Locked
from cpkit.etcd import HashKV, MemberClient
from tests.contract.backups import CREATED, take
from tests.contract.etcd_members import EtcdMember, Loopback, etcd_binary, loopback, wait_for_quorum
from tests.contract.streaming import Credentials, Stream, chain_of, streaming

IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENT = str(IDENTITY.to_public())
SEALED = Recipients((RECIPIENT,))
OPENING = Identities(f"{IDENTITY}\n", "backup.key")
STORED = 20.0  # seconds within which what was written must be in the store on a busy machine
LOSS = 5.0  # seconds; what a stream promises


def await_that(condition: Callable[[], bool], within: float = STORED) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within, "it never came true"
        time.sleep(0.02)
    return time.monotonic() - began


def credentials(*members: EtcdMember) -> Credentials:
    authority = members[0].authority
    cert, key = authority.leaf("client")
    return Credentials(tuple(member.port for member in members), authority.ca(), cert, key)


def write(client: MemberClient, count: int, name: str = "k") -> int:
    """Writes of every kind; the revision after them."""
    etcd = client.etcd3
    lease = etcd.lease(3600)
    for number in range(count):
        key = f"/registry/pods/default/{name}-{number % 40}"
        if number % 7 == 3:
            etcd.delete(key)
        elif number % 5 == 2:
            puts = [
                etcd.transactions.put(f"/registry/secrets/default/{name}-{each}", "s" * number) for each in range(4)
            ]
            etcd.transaction([], [*puts, etcd.transactions.delete(key)], [])
        else:
            etcd.put(key, "x" * (number * 11), lease=lease if number % 3 else None)
    etcd.put(f"/registry/events/default/{name}", "e", lease=lease)
    etcd.put(f"/registry/events/default/{name}-2", "e", lease=lease)
    etcd.delete_prefix(f"/registry/secrets/default/{name}-")
    return client.probe()


def take_now(client: MemberClient, store: Store, key: Sealing) -> Sidecar:
    """A backup of this moment: a stream goes on from its time."""
    return take(client, store, key, age=CREATED - datetime.now(UTC).replace(microsecond=0))


@dataclass
class Written:
    """A stream that has ended, and what was true at some of its revisions."""

    store: Path
    base: Sidecar
    points: dict[int, tuple[int, dict[bytes, tuple[bytes, int, int, int]]]]  # revision -> ms, keys
    last: int

    def segments(self, key: Opening = OPENING) -> list[segment.Segment]:
        with open_store(str(self.store)) as store:
            found = chain.find(store, self.base)
            assert found
            return list(chain.segments(store, found, key))


def keys_at(client: MemberClient, revision: int) -> dict[bytes, tuple[bytes, int, int, int]]:
    from cpkit.etcd.rpc import etcdrpc

    reply = client.etcd3.kvstub.Range(etcdrpc.RangeRequest(key=b"\0", range_end=b"\0", revision=revision), 10)
    return {kv.key: (kv.value, kv.create_revision, kv.mod_revision, kv.lease) for kv in reply.kvs}


@pytest.fixture(scope="module")
def written(client: MemberClient, member: EtcdMember, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A stream with transactions, deletions, leases, one that ends, and a compaction."""
    store = tmp_path_factory.mktemp("store")
    write(client, 60)
    with open_store(str(store)) as opened:
        base = take_now(client, opened, SEALED)
    short = client.etcd3.lease(2)
    client.etcd3.put("/registry/masterleases/10.0.0.9", "gone soon", lease=short)
    points = {}

    def note() -> None:
        revision = client.probe()
        points[revision] = (time.time_ns() // 1_000_000, keys_at(client, revision))

    with streaming(store, base, SEALED, credentials(member)) as stream:
        for turn in range(4):
            revision = write(client, 50, f"turn{turn}")
            note()
            await_that(lambda revision=revision: stream.chain().last >= revision)  # type: ignore[misc]
            if turn == 1:
                client.compact(revision - 20, physical=True)
        await_that(lambda: client.etcd3.get("/registry/masterleases/10.0.0.9")[0] is None)
        client.etcd3.put("/registry/last", "x")
        note()
        last = client.probe()
        await_that(lambda: stream.chain().last >= last)
    return Written(store, base, points, last)


def replay(written: Written, revision: int, read: Callable[[Replayed], Any] = lambda _: None) -> Any:
    with open_store(str(written.store)) as store:
        bundle = open_bundle(store, written.base.name, OPENING)
        found = chain.find(store, written.base)
        assert found
        part = bundle.manifest.part("snapshot.db")
        with replayed(
            bundle.stream(),
            part.size,
            etcd_binary().parent,
            hashes=bundle.manifest.hashes,
            segments=chain.segments(store, found, OPENING),
            revision=revision,
        ) as made:
            return read(made)


def contents(made: Replayed) -> tuple[int, dict[bytes, tuple[bytes, int, int, int]], HashKV]:
    """The keys of a replay's snapshot, as another etcd reads them."""
    with scratch_etcd(made.chunks(), made.part.size, etcd_binary().parent) as client:
        revision = client.probe()
        return revision, keys_at(client, revision), client.hash_kv(revision)


def test_every_recorded_point_comes_back_with_its_revisions_and_leases(written: Written) -> None:
    assert len(written.points) == 5
    for revision, (_, keys) in list(written.points.items())[::2]:
        found, held, _ = replay(written, revision, contents)
        assert (found, held) == (revision, keys)


def test_the_last_revision_hashes_as_the_member_does(written: Written, client: MemberClient) -> None:
    hashed = client.hash_kv(written.last)
    with_compaction = replay(written, written.last, contents)[2]
    assert (with_compaction.hash, with_compaction.compact_revision) == (hashed.hash, hashed.compact_revision)
    assert hashed.compact_revision > written.base.revision


def test_a_revision_between_two_writes_is_reached_to_the_write(written: Written) -> None:
    revision = written.base.revision + 1
    assert replay(written, revision, lambda made: made.database.revision) == revision
    assert replay(written, written.base.revision, lambda made: made.database.revision) == written.base.revision


def test_a_replay_is_compared_before_and_after_the_wanted_revision(written: Written) -> None:
    revision = sorted(written.points)[1] - 3
    compared = [each.revision for each in replay(written, revision, lambda made: made.compared)]
    assert min(compared) <= revision <= max(compared)


def test_a_time_means_the_last_revision_received_by_then(written: Written) -> None:
    for revision, (at, _) in written.points.items():
        later = chain.moment(at) + timedelta(milliseconds=900)
        records = [record for each in written.segments() for record in each.records()]
        expected = max(r.revision for r in records if r.at <= at + 900)
        found = resolve(written.base, written.segments(), Wish(time=later))
        assert found.revision == expected >= revision
        assert not found.doubt


def test_a_replay_that_hashes_otherwise_is_refused(written: Written) -> None:
    segments = written.segments()
    at, told = next((at, each.head.hashes[0]) for at, each in enumerate(segments) if each.head.hashes)
    lie = replace(segments[at].head, hashes=(replace(told, hash=told.hash ^ 1),))
    segments[at] = replace(segments[at], head=lie)
    with open_store(str(written.store)) as store:
        bundle = open_bundle(store, written.base.name, OPENING)
        size = bundle.manifest.part("snapshot.db").size
        with (
            pytest.raises(DamagedBackup, match="holds other keys"),
            replayed(
                bundle.stream(),
                size,
                etcd_binary().parent,
                hashes=(),
                segments=segments,
                revision=written.base.revision + 1,
            ),
        ):
            pass


def flipped(store: Path) -> None:
    path = sorted(store.glob("*.seg"))[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(store: Path) -> None:
    path = sorted(store.glob("*.seg"))[1]
    path.write_bytes(path.read_bytes()[:-40])


def swapped(store: Path) -> None:
    one, two = sorted(store.glob("*.seg"))[:2]
    data = one.read_bytes(), two.read_bytes()
    one.write_bytes(data[1])
    two.write_bytes(data[0])


def missing(store: Path) -> None:
    sorted(store.glob("*.seg"))[1].unlink()


def endless(store: Path) -> None:
    max(store.glob("*.seg")).unlink()


def doubled(store: Path) -> None:
    path = sorted(store.glob("*.seg"))[1]
    path.with_name(path.name.replace("02-r", "02-r9")).write_bytes(path.read_bytes())


def renamed(store: Path) -> None:
    path = max(store.glob("*.seg"))
    path.rename(path.with_name(path.name[:-8] + "9999.seg"))


def forged(store: Path) -> None:
    """A segment sealed by somebody who has the recipient, and does not know what came before."""
    path = sorted(store.glob("*.seg"))[1]
    one = segment.read(path.read_bytes(), OPENING, path.name)
    path.write_bytes(segment.write(replace(one.head, previous="0" * 64), one.body, SEALED))


@pytest.mark.parametrize("spoil", [flipped, truncated, swapped, missing, endless, doubled, renamed, forged])
def test_a_chain_that_was_changed_is_refused_with_the_reason(
    written: Written, spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    for path in written.store.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spoil(tmp_path)
    with pytest.raises(DamagedBackup, match=r"segment|\.seg"):
        replay(replace(written, store=tmp_path), written.last)


def test_what_lies_before_a_break_comes_back_all_the_same(written: Written, tmp_path: Path) -> None:
    for path in written.store.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    max(tmp_path.glob("*.seg")).unlink()
    revision = written.base.revision + 1
    spoilt = replace(written, store=tmp_path)
    assert replay(spoilt, revision, lambda made: made.database.revision) == revision
    with pytest.raises(DamagedBackup, match="lacks its end"):
        spoilt.segments()


def test_another_key_opens_no_segment(written: Written) -> None:
    other = Identities(f"{pyrage.x25519.Identity.generate()}\n", "other.key")
    with pytest.raises(WrongKey):
        written.segments(other)


@pytest.mark.parametrize("key", [Passphrase("correct horse"), None], ids=["passphrase", "in the clear"])
def test_a_stream_is_sealed_as_its_backup(
    client: MemberClient, member: EtcdMember, tmp_path: Path, key: Passphrase | None
) -> None:
    with open_store(str(tmp_path)) as opened:
        base = take_now(client, opened, key)
    for _ in range(2):
        with streaming(tmp_path, base, key, credentials(member)) as stream:
            client.etcd3.put("/registry/word", "never-to-be-seen-42")
            revision = client.probe()
            await_that(lambda: stream.chain().last >= revision)  # noqa: B023
    found = Written(tmp_path, base, {}, revision)
    assert found.segments(key)[-1].head.last == revision
    if key:
        assert not any(b"never-to-be-seen-42" in path.read_bytes() for path in tmp_path.iterdir())
        with pytest.raises(WrongKey):
            found.segments(Passphrase("another horse"))


def test_what_is_written_is_in_the_store_within_the_promised_time(
    client: MemberClient, member: EtcdMember, tmp_path: Path
) -> None:
    with open_store(str(tmp_path)) as opened:
        base = take_now(client, opened, SEALED)
    slowest = 0.0
    with streaming(tmp_path, base, SEALED, credentials(member), CLOSE) as stream:
        for number in range(3):
            client.etcd3.put("/registry/timed", str(number))
            revision = client.probe()
            slowest = max(slowest, await_that(lambda: stream.chain().last >= revision))  # noqa: B023
        quiet = time.time_ns() // 1_000_000
        await_that(lambda: stream.chain().until > quiet + 1000)  # nothing is written, and it is said so
    assert slowest < LOSS
    assert stream.chain().state is not None


def process(folder: Path, store: Path, base: Sidecar, members: Credentials) -> "subprocess.Popen[bytes]":
    for name in ("ca", "cert", "key"):
        (folder / f"{name}.pem").write_bytes(getattr(members, name))
    words = [str(store), base.name, RECIPIENT, str(folder), *map(str, members.ports)]
    return subprocess.Popen([sys.executable, "-m", "tests.contract.streaming", *words], stderr=subprocess.PIPE)


def test_killed_at_any_moment_it_goes_on_without_a_gap(
    client: MemberClient, member: EtcdMember, tmp_path: Path
) -> None:
    store, folder = tmp_path / "store", tmp_path / "folder"
    folder.mkdir()
    with open_store(str(store)) as opened:
        base = take_now(client, opened, SEALED)
    for turn in range(2):
        known = chain_of(store, base)
        run = process(folder, store, base, credentials(member))
        while len(chain_of(store, base).links) < len(known.links) + 2:
            write(client, 20, f"kill{turn}")
            assert run.poll() is None, run.communicate()
        write(client, 20, "late")
        run.kill()
        run.communicate()
        write(client, 20, "away")
    last = client.probe()
    run = process(folder, store, base, credentials(member))
    await_that(lambda: chain_of(store, base).last >= last)
    run.send_signal(signal.SIGINT)
    assert (run.wait(20), run.communicate()[1]) == (0, b"")
    found = Written(store, base, {}, last)
    state = chain_of(store, base).state
    assert state
    assert (state.ended, state.number) == (True, len(found.segments()))
    revisions = [record.revision for each in found.segments() for record in each.records()]
    assert revisions == list(range(base.revision + 1, last + 1))
    assert replay(found, last, contents)[1] == keys_at(client, last)


def test_two_streams_into_one_chain_exclude_each_other(
    client: MemberClient, member: EtcdMember, tmp_path: Path
) -> None:
    with open_store(str(tmp_path)) as opened:
        base = take_now(client, opened, SEALED)
    with streaming(tmp_path, base, SEALED, credentials(member)) as first:
        await_that(lambda: first.chain().state is not None)
        with streaming(tmp_path, base, SEALED, credentials(member)) as second:
            client.etcd3.put("/registry/once", "x")
            revision = client.probe()
            await_that(lambda: second.chain().last >= revision)
            await_that(lambda: first.error is not None)
        assert isinstance(first.error, Locked)
        first.error = None
    assert Written(tmp_path, base, {}, revision).segments()


def test_history_that_is_compacted_ends_a_stream(client: MemberClient, member: EtcdMember, tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as opened:
        base = take_now(client, opened, SEALED)
    client.compact(write(client, 20), physical=True)
    stream = Stream(tmp_path, base, SEALED, credentials(member))
    stream.run()
    assert (stream.end, stream.error) == ("compacted", None)


def three(place: Loopback) -> tuple[EtcdMember, ...]:
    names = ("cp1", "cp2", "cp3")
    for name in names:
        place.announce(name)
    members = tuple(place.start(name) for name in names)
    for member in members:
        wait_for_quorum(member)
    return members


@pytest.mark.parametrize("freeze", [False, True], ids=["killed", "frozen"])
def test_a_member_that_fails_is_left_for_another(tmp_path: Path, freeze: bool) -> None:
    store = tmp_path / "store"
    with loopback(etcd_binary(), tmp_path) as place:
        members = three(place)
        with members[2].client(timeout=20) as client, open_store(str(store)) as opened:
            base = take_now(client, opened, SEALED)
            with streaming(store, base, SEALED, credentials(*members)) as stream:
                revision = write(client, 20)
                await_that(lambda: stream.chain().last >= revision)
                if freeze:
                    os.kill(members[0].process.pid, signal.SIGSTOP)
                else:
                    members[0].stop()
                await_that(lambda: _written(client), 20)
                revision = write(client, 20)
                await_that(lambda: stream.chain().last >= revision)
            assert any("goes on from another member" in text for text in stream.said)
            assert stream.seen[-1].node != "cp1"
            found = Written(store, base, {}, revision)
            assert replay(found, revision, contents)[1] == keys_at(client, revision)


def _written(client: MemberClient) -> bool:
    try:
        client.etcd3.put("/registry/again", "x")
    except Exception:
        return False
    return True


def test_a_store_that_is_away_is_waited_for(client: MemberClient, member: EtcdMember, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with open_store(str(store)) as opened:
        base = take_now(client, opened, SEALED)
    with streaming(store, base, SEALED, credentials(member)) as stream:
        await_that(lambda: stream.chain().state is not None)
        store.rename(tmp_path / "elsewhere")
        store.write_text("in the way")
        write(client, 20)
        await_that(lambda: any("the store fails" in text for text in stream.said))
        store.unlink()
        (tmp_path / "elsewhere").rename(store)
        revision = client.probe()
        await_that(lambda: stream.chain().last >= revision)
    assert any("the store is back" in text for text in stream.said)
    assert Written(store, base, {}, revision).segments()


def test_nothing_of_a_replay_is_left_in_memory_whatever_ends_it(written: Written) -> None:
    code = (
        "import sys; from pathlib import Path; from cpkit.backup import *; from cpkit.backup.scratch import *\n"
        "store = open_store(sys.argv[1]).__enter__(); key = Identities(sys.stdin.read(), 'key')\n"
        "bundle = open_bundle(store, sys.argv[2], key); part = bundle.manifest.part('snapshot.db')\n"
        "with scratch_etcd(bundle.stream(), part.size, Path(sys.argv[3])) as client:\n"
        "    print('up', flush=True); sys.stdin.close(); import time; time.sleep(60)\n"
    )
    words = [str(written.store), written.base.name, str(etcd_binary().parent)]
    run = subprocess.Popen([sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert run.stdin
    assert run.stdout
    run.stdin.write(f"{IDENTITY}\n".encode())
    run.stdin.close()
    assert run.stdout.readline()
    before = set(MEMORY.glob(f"{PREFIX}*"))
    assert before
    run.kill()
    run.wait(10)
    run.stdout.close()
    await_that(lambda: not _alive(before))
    replay(written, written.base.revision)
    assert not before & set(MEMORY.glob(f"{PREFIX}*"))


def _alive(homes: set[Path]) -> bool:
    """Whether an etcd runs in one of these folders."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() in homes:
                return True
        except OSError:
            continue
    return False


def test_an_etcd_that_cannot_read_the_snapshot_is_an_error_in_words() -> None:
    with (
        pytest.raises(BackupError, match="cannot read the snapshot"),
        scratch_etcd([b"no snapshot"], 11, etcd_binary().parent),
    ):
        pass
