"""Turns etcd's messages into plain values."""

from typing import Any

from cpkit.etcd.model import HashKV, KeyValue, Member, MemberStatus


def status(reply: Any) -> MemberStatus:
    """A StatusResponse as a value."""
    return MemberStatus(
        member_id=reply.header.member_id,
        cluster_id=reply.header.cluster_id,
        leader=reply.leader,
        raft_term=reply.raftTerm,
        raft_index=reply.raftIndex,
        raft_applied_index=reply.raftAppliedIndex,
        revision=reply.header.revision,
        db_size=reply.dbSize,
        db_size_in_use=reply.dbSizeInUse,
        quota=reply.dbSizeQuota,
        version=reply.version,
        storage_version=reply.storageVersion,
        is_learner=reply.isLearner,
        errors=tuple(reply.errors),
        downgrade=reply.downgradeInfo.targetVersion if reply.downgradeInfo.enabled else "",
    )


def members(reply: Any) -> tuple[Member, ...]:
    """The member list of any reply that carries one, ordered by ID."""
    return tuple(sorted((member(row) for row in reply.members), key=lambda row: row.id))


def member(row: Any) -> Member:
    """A Member as a value."""
    return Member(
        id=row.ID,
        name=row.name,
        peer_urls=tuple(row.peerURLs),
        client_urls=tuple(row.clientURLs),
        is_learner=row.isLearner,
    )


def hash_kv(reply: Any, asked: int) -> HashKV:
    """A HashKVResponse as a value; before etcd 3.6 the reply does not name the revision that was hashed."""
    return HashKV(
        member_id=reply.header.member_id,
        revision=reply.hash_revision or asked or reply.header.revision,
        hash=reply.hash,
        compact_revision=reply.compact_revision,
    )


def key_value(row: Any) -> KeyValue:
    """A KeyValue as a value."""
    return KeyValue(
        value=row.value,
        create_revision=row.create_revision,
        mod_revision=row.mod_revision,
        version=row.version,
        lease=row.lease,
    )
