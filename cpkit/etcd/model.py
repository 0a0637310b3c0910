"""The answers of an etcd member, as plain values."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class MemberStatus:
    """What a member says of itself; needs no quorum."""

    member_id: int
    cluster_id: int
    leader: int  # 0 while the member knows of none
    raft_term: int
    raft_index: int
    raft_applied_index: int
    revision: int
    db_size: int
    db_size_in_use: int
    quota: int  # 0 before etcd 3.6
    version: str
    storage_version: str  # empty before etcd 3.6
    is_learner: bool
    errors: tuple[str, ...]
    downgrade: str = ""  # the version that the cluster may be taken back to now; empty when no downgrade is enabled

    @property
    def is_leader(self) -> bool:
        """Whether the member leads the cluster by its own account."""
        return self.leader == self.member_id


@dataclass(frozen=True)
class Member:
    """A row of the member list; the name is empty until the member has started."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


@dataclass(frozen=True)
class Alarm:
    """An alarm that is raised: NOSPACE or CORRUPT."""

    member_id: int
    kind: str


@dataclass(frozen=True)
class HashKV:
    """The hash of a member's keys at one revision; equal on members with the same compact revision."""

    member_id: int
    revision: int
    hash: int
    compact_revision: int


@dataclass(frozen=True)
class Row:
    """A key of a range, and what it holds unless only keys were asked for."""

    key: bytes
    value: bytes = field(repr=False)
    mod_revision: int


@dataclass(frozen=True)
class KeyValue:
    """A key's value and when it was written."""

    value: bytes = field(repr=False)
    create_revision: int
    mod_revision: int
    version: int
    lease: int
