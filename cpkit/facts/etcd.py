"""What one etcd member says, asked in a way that never hangs and needs no quorum."""

import re
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING

from cpkit.errors import CpkitError
from cpkit.etcd.registry import after
from cpkit.facts.meeting import Meeting
from cpkit.facts.snapshot import MemberRow, MemberStatus

if TYPE_CHECKING:
    from cpkit import etcd

PATIENCE = 2.0  # seconds for one call
SERVERS = b"/registry/masterleases/"  # a key for each API server, which it renews every few seconds
MOST_SERVERS = 100
ALARM = re.compile(r"alarm:(\w+)")


@dataclass(frozen=True)
class Answer:
    """A member's status, and the member list as it knows it."""

    status: MemberStatus
    members: tuple[MemberRow, ...] = ()
    revision: int = 0  # what it was hashed at
    servers: tuple[str, ...] | None = None  # that serve the API by their own account


def ask(client: "etcd.MemberClient", meeting: Meeting) -> Answer:
    """Ask one member everything; whatever it cannot answer stays unknown."""
    began = monotonic()
    try:
        said = client.status(timeout=PATIENCE)
    except CpkitError as error:
        meeting.bring(client.node, None)
        return Answer(MemberStatus(error=error.message))
    status = _status(said, monotonic() - began)
    meeting.bring(client.node, said.revision)
    try:
        rows = tuple(_row(member) for member in client.members(linearizable=False, timeout=PATIENCE))
        status = replace(status, linearizable=_reads_through_leader(client))
        revision, status = _hashed(client, meeting, status)
        status = replace(status, terms=(*status.terms, client.status(timeout=PATIENCE).raft_term))
        servers = None if status.learner else _servers(client)
    except CpkitError as error:
        return Answer(replace(status, error=error.message))
    return Answer(status, rows, revision, servers)


def _status(said: "etcd.MemberStatus", seconds: float) -> MemberStatus:
    own = f"memberID:{said.member_id} "
    alarms = (ALARM.search(error) for error in said.errors if error.startswith(own))
    return MemberStatus(
        id=f"{said.member_id:x}",
        leader=f"{said.leader:x}" if said.leader else "",
        terms=(said.raft_term,),
        index=said.raft_index,
        applied=said.raft_applied_index,
        version=said.version,
        storage_version=said.storage_version,
        downgrade=said.downgrade,
        db_size=said.db_size,
        db_in_use=said.db_size_in_use,
        quota=said.quota,
        learner=said.is_learner,
        # Alarms are read from the status, which needs no quorum, unlike the call that lists them.
        alarms=tuple(alarm.group(1) for alarm in alarms if alarm),
        seconds=seconds,
        revision=said.revision,
    )


def _row(member: "etcd.Member") -> MemberRow:
    return MemberRow(id=f"{member.id:x}", name=member.name, peer_urls=member.peer_urls, learner=member.is_learner)


def _reads_through_leader(client: "etcd.MemberClient") -> str:
    try:
        client.probe(timeout=PATIENCE)
    except CpkitError as error:
        return error.message
    return ""


def _hashed(client: "etcd.MemberClient", meeting: Meeting, status: MemberStatus) -> tuple[int, MemberStatus]:
    revision = meeting.agree()
    if revision is None:
        return 0, status
    try:
        hashed = client.hash_kv(revision, timeout=PATIENCE)
    except CpkitError:
        return revision, status
    return revision, replace(status, hash=hashed.hash, compacted=hashed.compact_revision)


def _servers(client: "etcd.MemberClient") -> tuple[str, ...]:
    found = client.keys(SERVERS, after(SERVERS), revision=0, limit=MOST_SERVERS, timeout=PATIENCE)
    return tuple(key.removeprefix(SERVERS).decode("utf-8", "replace") for key in found)
