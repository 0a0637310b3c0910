"""Upkeep of real etcd members: leadership, compaction, defragmentation, and the way out of NOSPACE."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cpkit.artifacts import Silent
from cpkit.errors import Refused, Unreachable, UsageError
from cpkit.etcd import Alarm, EtcdError, EtcdRefused, MemberClient
from cpkit.facts.etcd import Answer, ask
from cpkit.facts.meeting import Meeting
from cpkit.facts.snapshot import EtcdFacts, Snapshot
from cpkit.health.members import leader
from cpkit.health.upkeep import MIB, Thresholds
from cpkit.operations import defrag, downgrade, etcd
from cpkit.operations.members import Members
from cpkit.operations.space import recover_space
from cpkit.versions import Version
from tests.contract.etcd_members import EtcdMember, etcd_binary, loopback, wait_for_quorum
from tests.unit.health_snapshots import captured

HOSTS = {"cp1": "127.0.0.1", "cp2": "127.0.0.2", "cp3": "127.0.0.3"}
QUOTA = 24 * MIB


class Told:
    """Keeps what an operation says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.progress = Silent()

    def begin(self, step: str) -> None:
        self.lines.append(step)

    def end(self, step: str, outcome: str, seconds: float) -> None:
        """Nothing to keep."""

    def status(self, text: str) -> None:
        """Nothing to keep."""

    def say(self, text: str) -> None:
        self.lines.append(text)

    def event(self, event: Any) -> None:
        """Nothing to keep."""

    def step(self, name: str) -> AbstractContextManager[None]:
        self.begin(name)
        return nullcontext()


@dataclass
class Etcd:
    """Three members, and a snapshot whose other facts are those of a healthy cluster."""

    members: dict[str, EtcdMember]
    calls: list[tuple[str, str]] = field(default_factory=list)  # (node, method)

    def look(self) -> Snapshot:
        meeting = Meeting(HOSTS, 1.0)

        def answer(name: str) -> Answer:
            with self.members[name].client() as client:
                return ask(client, meeting)

        with ThreadPoolExecutor(3) as pool:
            answers = dict(zip(HOSTS, pool.map(answer, HOSTS), strict=True))
        listed = sorted((a for a in answers.values() if a.members), key=lambda a: a.status.linearizable != "")
        facts = EtcdFacts(
            {name: each.status for name, each in answers.items()},
            listed[0].members if listed else (),
            max(each.revision for each in answers.values()),
        )
        healthy = captured("healthy")
        return replace(healthy, etcd=facts, plan=replace(healthy.plan, control_plane=HOSTS, quota=QUOTA))

    @contextmanager
    def open(self, name: str) -> Iterator[MemberClient]:
        with self.members[name].client(timeout=10) as client:
            for method in ("defragment", "move_leader", "compact", "disarm"):
                setattr(client, method, self._noted(name, getattr(client, method)))
            yield client

    def _noted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*words: Any, **options: Any) -> Any:
            self.calls.append((name, call.__name__))
            return call(*words, **options)

        return noted

    @property
    def reached(self) -> Members:
        return Members(self.look, self.open, hold=lambda: nullcontext(()))  # nobody else asks these members

    def put(self, key: str, value: bytes) -> None:
        with self.members["cp1"].client(timeout=10) as client:
            client.etcd3.put(key, value)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Etcd]:
    with loopback(etcd_binary(), tmp_path) as place:
        place.flags["quota-backend-bytes"] = str(QUOTA)
        for name, host in HOSTS.items():
            place.announce(name, host)
        started = {name: place.start(name) for name in HOSTS}
        for member in started.values():
            wait_for_quorum(member)
        yield Etcd(started)


def churn(cluster: Etcd, times: int, size: int = 512 * 1024) -> None:
    """Write one key over and over: history that fills the file, and one value that is in use."""
    with cluster.members["cp1"].client(timeout=10) as client:
        for _ in range(times):
            client.etcd3.put("churn", os.urandom(size))


def yes(plan: str) -> bool:
    return True


def no(plan: str) -> bool:
    return False


def fill(cluster: Etcd) -> None:
    """Write keys that stay, until etcd takes no more, twice: the second time there are hardly any free pages."""
    with cluster.members["cp1"].client(timeout=10) as client:

        def write(prefix: str, size: int) -> None:
            for number in range(1000):
                client.etcd3.put(f"{prefix}/{number}", os.urandom(size))

        with pytest.raises(Exception, match="database space exceeded"):
            write("big", 100 * 1024)
        for member in cluster.members.values():
            with member.client(timeout=10) as each:
                each.defragment(timeout=30)
        for alarm in client.alarms():
            client.disarm(alarm)
        write("big/1", 20 * 1024)


def test_a_downgrade_is_stored_by_every_member_and_may_be_cancelled(cluster: Etcd) -> None:
    def told() -> set[tuple[str, str]]:
        return {(each.storage_version, each.downgrade) for each in cluster.look().etcd.statuses.values()}

    def await_that(state: tuple[str, str]) -> None:
        ends = time.monotonic() + 30
        while told() != {state}:
            assert time.monotonic() < ends, told()
            time.sleep(0.2)

    await_that(("3.6.0", ""))
    with pytest.raises(Refused, match=r"etcd does not go back to 3\.4"):
        downgrade.enable(cluster.reached, Version(3, 4, 0))
    for _ in range(2):  # a run that is taken up enables it again
        downgrade.enable(cluster.reached, Version(3, 5, 26))
        assert told() == {("3.5.0", "3.5.0")}
    with pytest.raises(Refused, match=r"a downgrade of etcd to 3\.5 is enabled"):
        downgrade.enable(cluster.reached, Version(3, 4, 0))
    downgrade.cancel(cluster.reached)
    await_that(("3.6.0", ""))


def test_leadership_moves_to_whom_it_is_told_and_back(cluster: Etcd) -> None:
    before = leader(cluster.look())
    to = next(name for name in HOSTS if name != before)
    moved = etcd.move_leader(cluster.reached, to)
    assert (moved.before, moved.after) == (before, to)
    assert leader(cluster.look()) == to
    assert etcd.move_leader(cluster.reached, to).seconds == 0.0
    assert cluster.calls == [(before, "move_leader")]
    with pytest.raises(UsageError):
        etcd.move_leader(cluster.reached, "cp9")
    follower = next(name for name in HOSTS if name != to)
    with cluster.members[follower].paused(), pytest.raises(Unreachable, match="could not be asked"):
        etcd.move_leader(cluster.reached, follower)
    assert leader(cluster.look()) == to


def test_a_compaction_is_over_on_every_member_when_it_returns(cluster: Etcd) -> None:
    churn(cluster, 12)
    at = cluster.look().etcd.statuses["cp1"].revision
    done = etcd.compact(cluster.reached, keep=2)
    assert (done.revision, done.members) == (at - 2, tuple(HOSTS))
    for name in HOSTS:
        with cluster.open(name) as client:
            assert client.hash_kv(at).compact_revision == at - 2
            client.defragment(timeout=10)
            assert client.status().db_size < 4 * MIB  # of 12 values of half a MiB three are left
    assert etcd.compact(cluster.reached, keep=2).revision == 0
    with pytest.raises(UsageError, match="yet to come"):
        etcd.compact(cluster.reached, revision=at + 1)


def test_without_quorum_nothing_is_compacted_and_alarms_are_still_told(cluster: Etcd) -> None:
    with cluster.open("cp1") as client:
        client.etcd3.create_alarm(client.status().member_id)
    with cluster.members["cp2"].paused(), cluster.members["cp3"].paused():
        with pytest.raises(Refused, match="no quorum"):
            etcd.compact(cluster.reached, keep=0)
        told = etcd.alarms(cluster.reached, cluster.look())
        assert [(alarm.node, alarm.kind) for alarm in told] == [("cp1", "NOSPACE")]


def test_an_alarm_is_taken_back_when_its_reason_is_gone(cluster: Etcd) -> None:
    with cluster.open("cp2") as client:
        client.etcd3.create_alarm(client.status().member_id)
    assert [alarm.node for alarm in etcd.disarm(cluster.reached)] == ["cp2"]
    assert etcd.alarms(cluster.reached, cluster.look()) == ()


def test_one_member_after_the_other_is_defragmented_and_the_leader_last(cluster: Etcd) -> None:
    churn(cluster, 20)
    etcd.compact(cluster.reached, keep=0)
    cluster.calls.clear()
    leads = leader(cluster.look())
    options = defrag.Options(Thresholds(0.55, MIB))
    planned = defrag.plan(cluster.look(), options)
    deadline = time.monotonic() + 20
    while len(planned.wanted) < len(HOSTS):  # a member tells of freed pages when it has committed something since
        cluster.put("since", b"")
        assert time.monotonic() < deadline, planned.words()
        planned = defrag.plan(cluster.look(), options)
    assert planned.wanted == (*sorted(set(HOSTS) - {leads}), leads)
    assert planned.findings == ()

    busy: list[int] = []
    over = threading.Event()

    def watch() -> None:
        """How many members stand still for a second at once: none answers a serializable read while it does."""
        clients = [member.client(timeout=1.0) for member in cluster.members.values()]
        while not over.is_set():
            busy.append(sum(_silent(client) for client in clients))
        for client in clients:
            client.close()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        done = defrag.defragment(cluster.reached, planned, options, Told())
    finally:
        over.set()
        thread.join()
    assert [each.node for each in done] == list(planned.wanted)
    assert all(each.after < each.before / 2 for each in done)
    assert max(busy) <= 1
    assert [call for call in cluster.calls if call[1] != "defragment"] == [(leads, "move_leader")]
    assert cluster.calls[-2:] == [(leads, "move_leader"), (leads, "defragment")]
    again = defrag.plan(cluster.look(), options)
    assert again.wanted == ()
    assert "Nothing to do" in again.words()


def _silent(client: MemberClient) -> bool:
    try:
        client.get(b"churn", serializable=True)
    except EtcdError:
        return True
    return False


def test_a_frozen_member_keeps_the_others_from_being_touched(cluster: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defrag, "GATE", 1.0)
    options = defrag.Options(force=True)
    planned = defrag.plan(cluster.look(), options)
    victim = planned.wanted[1]
    with cluster.members[victim].paused():
        with pytest.raises(Refused, match=f"{planned.wanted[0]} may not stand still now: .*1 of 3 voters"):
            defrag.defragment(cluster.reached, planned, options, Told())
        assert defrag.plan(cluster.look(), options).obstacles
    assert cluster.calls == []


def test_a_database_at_its_quota_takes_writes_again(cluster: Etcd) -> None:
    churn(cluster, 4)
    with pytest.raises(Exception, match="database space exceeded"):
        churn(cluster, 100)
    deadline = time.monotonic() + 10
    while not any(status.alarms for status in cluster.look().etcd.statuses.values()):
        assert time.monotonic() < deadline
    with cluster.open("cp1") as client, pytest.raises(EtcdRefused, match="database space exceeded"):
        client.prove_write(b"cpkit/test")
    with pytest.raises(Refused, match="all but reached its quota"):
        etcd.disarm(cluster.reached)
    cluster.calls.clear()
    told = Told()
    seen = recover_space(cluster.reached, told, told.step, confirm=yes, dry_run=True)
    assert (seen.written, cluster.calls) == (0, [])
    with pytest.raises(Refused, match="not confirmed"):
        recover_space(cluster.reached, told, told.step, confirm=no)
    assert cluster.calls == []
    found = recover_space(cluster.reached, told, told.step, confirm=yes)
    assert {alarm.kind for alarm in found.raised} == {"NOSPACE"}
    assert [each.node for each in found.done][-1] == next(name for name, call in cluster.calls if call == "move_leader")
    assert found.written > found.compacted
    with cluster.open("cp1") as client:
        assert client.alarms() == ()
        assert client.get(b"cpkit/proof-of-write") is None
    cluster.put("after", b"x" * 1000)
    again = recover_space(cluster.reached, told, told.step, confirm=yes)
    assert (again.raised, again.done) == ((), ())
    assert again.written > found.written


def test_keys_that_fill_the_quota_by_themselves_leave_the_alarm_up(cluster: Etcd) -> None:
    with pytest.raises(Exception, match="database space exceeded"):
        fill(cluster)
    told = Told()
    with pytest.raises(Refused, match="of the quota's 24 MiB: the alarm would soon be back"):
        recover_space(cluster.reached, told, told.step, confirm=yes)
    with cluster.open("cp1") as client:
        assert client.alarms()
        client.etcd3.delete_prefix("big/1")
    assert recover_space(cluster.reached, told, told.step, confirm=yes).written


def test_a_corrupt_member_is_not_compacted_away(cluster: Etcd) -> None:
    with cluster.open("cp1") as client:
        rpc = client._rpc
        own = client.status().member_id
        request = rpc.AlarmRequest(action=rpc.AlarmRequest.ACTIVATE, memberID=own, alarm=rpc.CORRUPT)
        client.etcd3.maintenancestub.Alarm(request, 5)
    told = Told()
    with pytest.raises(Refused, match="cp1 raised CORRUPT"):
        recover_space(cluster.reached, told, told.step, confirm=yes)
    assert cluster.calls == []
    assert Alarm(own, "CORRUPT").kind in {alarm.kind for alarm in etcd.alarms(cluster.reached, cluster.look())}


def test_a_proof_of_a_write_leaves_nothing(cluster: Etcd) -> None:
    with cluster.open("cp1") as client:
        before = client.probe()
        written = client.prove_write(b"cpkit/test")
        assert written == before + 1
        assert client.get(b"cpkit/test") is None
        leases = client.etcd3.leasestub.LeaseLeases(client._rpc.LeaseLeasesRequest(), 5).leases
        assert list(leases) == []
