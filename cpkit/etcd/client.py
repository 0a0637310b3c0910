"""A client of one etcd member."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cpkit.etcd import answers
from cpkit.etcd.errors import translated
from cpkit.etcd.model import Alarm, HashKV, KeyValue, Member, MemberStatus, Row
from cpkit.etcd.snapshot import PATIENCE, Snapshot
from cpkit.etcd.watch import Watch

if TYPE_CHECKING:
    from etcd3.client import Etcd3Client

PROOF_SECONDS = 30  # that a written proof may outlive us


class MemberClient:
    """One member, asked over mTLS; every call ends by its deadline and raises an EtcdError when it fails."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ca: bytes,
        cert: bytes,
        key: bytes,
        timeout: float,
        node: str = "",
        server_name: str = "",
    ) -> None:
        """Credentials are PEM and stay in memory; `server_name` is the name the member's certificate must carry."""
        # gRPC and etcd3 take a quarter of a second to import; a command that asks no member should not pay for it.
        from cpkit.etcd import channel, pull, rpc

        self.node = node
        self.timeout = timeout
        self._rpc: Any = rpc.etcdrpc
        self._place = pull.Place(host, port, ca, cert, key, server_name)
        self.etcd3: Etcd3Client = channel.InMemoryClient(
            host=f"[{host}]" if ":" in host else host,
            port=port,
            ca_cert=ca,
            cert_cert=cert,
            cert_key=key,
            timeout=timeout,
            grpc_options=channel.options(server_name),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way end with EtcdUnavailable."""
        self.etcd3.close()

    def status(self, *, timeout: float | None = None) -> MemberStatus:
        """What the member says of itself, with or without quorum."""
        return answers.status(self._call(self.etcd3.maintenancestub.Status, self._rpc.StatusRequest(), timeout))

    def members(self, *, linearizable: bool = True, timeout: float | None = None) -> tuple[Member, ...]:
        """The member list; agreed by a quorum if linearizable, else as this member knows it."""
        request = self._rpc.MemberListRequest(linearizable=linearizable)
        return answers.members(self._call(self.etcd3.clusterstub.MemberList, request, timeout))

    def alarms(self, *, timeout: float | None = None) -> tuple[Alarm, ...]:
        """The alarms raised in the cluster; needs quorum."""
        request = self._rpc.AlarmRequest(action=self._rpc.AlarmRequest.GET)
        reply = self._call(self.etcd3.maintenancestub.Alarm, request, timeout)
        return tuple(Alarm(row.memberID, self._rpc.AlarmType.Name(row.alarm)) for row in reply.alarms)

    def disarm(self, alarm: Alarm, *, timeout: float | None = None) -> None:
        """Take an alarm back; etcd raises it again as soon as there is reason to."""
        kind = self._rpc.AlarmType.Value(alarm.kind)
        request = self._rpc.AlarmRequest(action=self._rpc.AlarmRequest.DEACTIVATE, memberID=alarm.member_id, alarm=kind)
        self._call(self.etcd3.maintenancestub.Alarm, request, timeout)

    def hash_kv(self, revision: int = 0, *, timeout: float | None = None) -> HashKV:
        """The hash of this member's keys up to a revision, its newest if 0."""
        request = self._rpc.HashKVRequest(revision=revision)
        return answers.hash_kv(self._call(self.etcd3.maintenancestub.HashKV, request, timeout), revision)

    def get(self, key: bytes, *, serializable: bool = False, timeout: float | None = None) -> KeyValue | None:
        """A key's value, or None; serializable reads ask this member alone and may be stale."""
        request = self._rpc.RangeRequest(key=key, serializable=serializable)
        reply = self._call(self.etcd3.kvstub.Range, request, timeout)
        return answers.key_value(reply.kvs[0]) if reply.kvs else None

    def probe(self, *, timeout: float | None = None) -> int:
        """The revision a linearizable read is served at; proof that this member has quorum."""
        request = self._rpc.RangeRequest(key=b"\0", count_only=True)
        return int(self._call(self.etcd3.kvstub.Range, request, timeout).header.revision)

    def prove_write(self, key: bytes, *, timeout: float | None = None) -> int:
        """Write a key and take it away again; the revision of the write. Its lease takes it away if we cannot."""
        lease = self._call(self.etcd3.leasestub.LeaseGrant, self._rpc.LeaseGrantRequest(TTL=PROOF_SECONDS), timeout).ID
        try:
            put = self._rpc.PutRequest(key=key, value=b"cpkit", lease=lease)
            return int(self._call(self.etcd3.kvstub.Put, put, timeout).header.revision)
        finally:
            self._call(self.etcd3.leasestub.LeaseRevoke, self._rpc.LeaseRevokeRequest(ID=lease), timeout)

    def move_leader(self, target: int, *, timeout: float | None = None) -> None:
        """Hand leadership to another voter; refused unless this member leads."""
        self._call(self.etcd3.maintenancestub.MoveLeader, self._rpc.MoveLeaderRequest(targetID=target), timeout)

    def validate_downgrade(self, version: str, *, timeout: float | None = None) -> None:
        """Ask whether the cluster may be taken back to a minor, as 3.6; refused with etcd's reason."""
        self._downgrade("VALIDATE", version, timeout)

    def enable_downgrade(self, version: str, *, timeout: float | None = None) -> None:
        """Have the cluster write what a minor, as 3.6, understands, and let members of it join."""
        self._downgrade("ENABLE", version, timeout)

    def cancel_downgrade(self, *, timeout: float | None = None) -> None:
        """Take an enabled downgrade back."""
        self._downgrade("CANCEL", "", timeout)

    def _downgrade(self, action: str, version: str, timeout: float | None) -> None:
        kind = self._rpc.DowngradeRequest.DowngradeAction.Value(action)
        request = self._rpc.DowngradeRequest(action=kind, version=version)
        self._call(self.etcd3.maintenancestub.Downgrade, request, timeout)

    def add_learner(self, *peer_urls: str, timeout: float | None = None) -> Member:
        """Announce a new member that does not vote yet."""
        request = self._rpc.MemberAddRequest(peerURLs=peer_urls, isLearner=True)
        return answers.member(self._call(self.etcd3.clusterstub.MemberAdd, request, timeout).member)

    def promote(self, member_id: int, *, timeout: float | None = None) -> tuple[Member, ...]:
        """Make a learner a voter; refused until it has caught up with the leader."""
        request = self._rpc.MemberPromoteRequest(ID=member_id)
        return answers.members(self._call(self.etcd3.clusterstub.MemberPromote, request, timeout))

    def remove(self, member_id: int, *, timeout: float | None = None) -> tuple[Member, ...]:
        """Take a member out of the cluster for good."""
        request = self._rpc.MemberRemoveRequest(ID=member_id)
        return answers.members(self._call(self.etcd3.clusterstub.MemberRemove, request, timeout))

    def compact(self, revision: int, *, physical: bool = False, timeout: float | None = None) -> None:
        """Forget the history before a revision; with `physical`, return when it is gone from the database."""
        request = self._rpc.CompactionRequest(revision=revision, physical=physical)
        self._call(self.etcd3.kvstub.Compact, request, timeout)

    def defragment(self, *, timeout: float) -> None:
        """Give free pages of the database back to the disk; the member serves nothing meanwhile."""
        self._call(self.etcd3.maintenancestub.Defragment, self._rpc.DefragmentRequest(), timeout)

    def keys(
        self, start: bytes, end: bytes, *, revision: int, limit: int, timeout: float | None = None
    ) -> tuple[bytes, ...]:
        """The first keys from `start` up to before `end`, or to the last (a zero byte), at a revision."""
        request = self._rpc.RangeRequest(
            key=start, range_end=end, revision=revision, limit=limit, keys_only=True, serializable=True
        )
        return tuple(row.key for row in self._call(self.etcd3.kvstub.Range, request, timeout).kvs)

    def rows(
        self,
        start: bytes,
        end: bytes,
        *,
        revision: int,
        limit: int,
        keys_only: bool = False,
        timeout: float | None = None,
    ) -> tuple[Row, ...]:
        """The first keys of a range with their values, at a revision, or as a quorum has them now if that is 0."""
        request = self._rpc.RangeRequest(
            key=start, range_end=end, revision=revision, limit=limit, keys_only=keys_only, serializable=bool(revision)
        )
        reply = self._call(self.etcd3.kvstub.Range, request, timeout)
        return tuple(Row(row.key, row.value, row.mod_revision) for row in reply.kvs)

    def count(self, start: bytes, end: bytes, *, revision: int, timeout: float | None = None) -> int:
        """How many keys there are from `start` up to before `end`, at a revision, as this member has them."""
        request = self._rpc.RangeRequest(
            key=start, range_end=end, revision=revision, count_only=True, serializable=True
        )
        return int(self._call(self.etcd3.kvstub.Range, request, timeout).count)

    def snapshot(self, *, timeout: float, patience: float = PATIENCE, through: Path | None = None) -> Snapshot:
        """Begin to stream the member's database, with or without quorum; a member that sends nothing is given up.

        It comes through a Unix socket that leads to the member, if one is named.
        """
        place = replace(self._place, socket=through)
        return Snapshot(place, node=self.node, timeout=timeout, patience=patience)

    def watch(self, revision: int) -> Watch:
        """Follow every key from a revision on."""
        with self._errors(self.timeout):
            return Watch(self._rpc.WatchStub(self.etcd3.channel), self._rpc, revision, node=self.node)

    def granted(self, lease: int, *, timeout: float | None = None) -> int:
        """The seconds a lease was granted for; 0 when there is no such lease."""
        reply = self._call(self.etcd3.leasestub.LeaseTimeToLive, self._rpc.LeaseTimeToLiveRequest(ID=lease), timeout)
        return max(0, int(reply.grantedTTL)) if reply.TTL >= 0 else 0

    def leases(self, *, timeout: float | None = None) -> tuple[int, ...]:
        """The leases there are."""
        reply = self._call(self.etcd3.leasestub.LeaseLeases, self._rpc.LeaseLeasesRequest(), timeout)
        return tuple(row.ID for row in reply.leases)

    def grant(self, lease: int, seconds: int, *, timeout: float | None = None) -> None:
        """Grant a lease under an ID of ours."""
        self._call(self.etcd3.leasestub.LeaseGrant, self._rpc.LeaseGrantRequest(ID=lease, TTL=seconds), timeout)

    def keep_alive(self, leases: tuple[int, ...], *, timeout: float | None = None) -> None:
        """Let leases begin anew."""
        requests = [self._rpc.LeaseKeepAliveRequest(ID=lease) for lease in leases]
        limit = self.timeout if timeout is None else timeout
        with self._errors(limit):
            for _ in zip(leases, self.etcd3.leasestub.LeaseKeepAlive(iter(requests), limit), strict=False):
                pass

    def write_again(self, events: bytes, *, timeout: float | None = None) -> int:
        """Write what a watch told of one revision, as one transaction; the revision that makes."""
        operations = []
        for event in self._rpc.WatchResponse.FromString(events).events:
            if event.type == self._rpc.Event.DELETE:
                request = self._rpc.DeleteRangeRequest(key=event.kv.key)
                operations.append(self._rpc.RequestOp(request_delete_range=request))
            else:
                put = self._rpc.PutRequest(key=event.kv.key, value=event.kv.value, lease=event.kv.lease)
                operations.append(self._rpc.RequestOp(request_put=put))
        reply = self._call(self.etcd3.kvstub.Txn, self._rpc.TxnRequest(success=operations), timeout)
        return int(reply.header.revision)

    def replace(
        self, wanted: Iterable[tuple[Row, bytes]], *, at_once: int = 1, timeout: float | None = None
    ) -> Iterator[tuple[Row, int]]:
        """Put values in place of those that were read, so many on their way at once, and tell in order how it went.

        With each comes the revision of the write, or 0 where somebody else has written or deleted since the reading.
        This is the transaction that API servers write with (k8s.io/apiserver/pkg/storage/etcd3).
        """
        limit = self.timeout if timeout is None else timeout
        under_way: deque[tuple[Row, Any]] = deque()
        for row, value in wanted:
            with self._errors(limit):
                under_way.append((row, self.etcd3.kvstub.Txn.future(self._replacing(row, value), limit)))
            if len(under_way) == at_once:
                yield self._replaced(*under_way.popleft(), limit)
        while under_way:
            yield self._replaced(*under_way.popleft(), limit)

    def _replacing(self, row: Row, value: bytes) -> Any:
        kinds = self._rpc.Compare
        unchanged = kinds(key=row.key, target=kinds.MOD, result=kinds.EQUAL, mod_revision=row.mod_revision)
        put = self._rpc.PutRequest(key=row.key, value=value, ignore_lease=True)
        return self._rpc.TxnRequest(compare=[unchanged], success=[self._rpc.RequestOp(request_put=put)])

    def _replaced(self, row: Row, answer: Any, timeout: float) -> tuple[Row, int]:
        with self._errors(timeout):
            reply = answer.result()
        return row, int(reply.header.revision) if reply.succeeded else 0

    def leases_of(self, events: bytes) -> tuple[int, ...]:
        """The leases that what a watch told of hangs on."""
        told = self._rpc.WatchResponse.FromString(events).events
        return tuple(dict.fromkeys(event.kv.lease for event in told if event.kv.lease))

    def _call(self, method: Callable[..., Any], request: Any, timeout: float | None) -> Any:
        limit = self.timeout if timeout is None else timeout
        with self._errors(limit):
            return method(request, limit)

    @contextmanager
    def _errors(self, timeout: float) -> Iterator[None]:
        with translated(self.node, timeout):
            yield
