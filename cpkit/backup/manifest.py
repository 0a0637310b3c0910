"""What a backup says of itself: the manifest inside of it, and the sidecar beside it.

The manifest is the last member of the archive, so it can name what is known only when the snapshot has passed by. The
sidecar is written after the archive has arrived: a backup without one never happened. It holds no secret.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from cpkit.backup.errors import DamagedBackup

SNAPSHOT, MANIFEST = "snapshot.db", "manifest.json"
Encryption = Literal["recipients", "passphrase", "none"]
Proof = Literal["stored", "read", "drill"]  # the store's copy was hashed; wholly read back; restored and compared


@dataclass(frozen=True)
class Part:
    """A file of the archive."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Hash:
    """HashKV of one member at the backup's revision; it covers the keys from its compacted revision on."""

    node: str
    hash: int
    revision: int
    compacted: int


@dataclass(frozen=True)
class Source:
    """The member a snapshot came from."""

    node: str
    member_id: str
    leader: bool
    quorum: bool  # whether the cluster had one
    reason: str  # why this member


@dataclass(frozen=True)
class Manifest:
    """What a backup holds, read from the database itself where it can be."""

    cluster: str
    cluster_id: str
    created: datetime
    cpkit: str
    kubernetes: str
    etcd: str
    storage_version: str
    revision: int
    compacted: int
    key_revisions: int
    consistent_index: int
    term: int
    source: Source
    hashes: tuple[Hash, ...]
    resources: dict[str, int] | None  # keys of each resource; None when etcd could not tell any more
    parts: tuple[Part, ...]
    without: tuple[str, ...] = ()  # what was left out, and why
    nodes: dict[str, str] = field(default_factory=dict)  # the control plane's addresses
    endpoint: str = ""
    schema: Literal[1] = 1

    @property
    def keys(self) -> int | None:
        """How many keys there were."""
        return None if self.resources is None else sum(self.resources.values())

    def part(self, name: str) -> Part:
        """One of its parts; DamagedBackup when there is none of that name."""
        for part in self.parts:
            if part.name == name:
                return part
        raise DamagedBackup(f"the backup holds no {name}")


@dataclass(frozen=True)
class Receipt:
    """What a drill found when it had brought a backup back."""

    seconds: float  # from the store to an API that served
    revision: int
    hash: int | None  # HashKV at that revision; None when the manifest has none to compare with
    keys: int
    resources: int
    secrets: int  # that were listed and decrypted
    kubernetes: str
    etcd: str
    steps: dict[str, float] = field(default_factory=dict)  # what took how many seconds


@dataclass(frozen=True)
class Verification:
    """A proof, and when it was made."""

    at: datetime
    proof: Proof
    by: str
    receipt: Receipt | None = None  # of a drill


@dataclass(frozen=True)
class Sidecar:
    """What is known of a backup without opening it."""

    name: str
    object: str
    size: int
    sha256: str
    manifest: str  # of the manifest inside
    encryption: Encryption
    cluster: str
    cluster_id: str
    created: datetime
    kubernetes: str
    etcd: str
    storage_version: str
    revision: int
    keys: int | None
    quorum: bool
    node: str
    recipients: tuple[str, ...] = ()
    nodes: dict[str, str] = field(default_factory=dict, hash=False)  # the control plane's addresses
    verified: tuple[Verification, ...] = field(default=())
    schema: Literal[1] = 1

    @property
    def last_verified(self) -> datetime | None:
        """When it was last proven, however."""
        return max((each.at for each in self.verified), default=None)

    def proven(self, verification: Verification) -> "Sidecar":
        """It, with one more proof; of each kind the newest is kept."""
        kept = tuple(each for each in self.verified if each.proof != verification.proof)
        return replace(self, verified=(*kept, verification))
