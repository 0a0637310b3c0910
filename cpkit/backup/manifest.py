"""What a backup says of itself: the manifest inside of it, and the sidecar beside it.

The manifest is the last member of the archive, so it can name what is known only when the snapshot has passed by. The
sidecar is written after the archive has arrived: a backup without one never happened. It holds no secret.

Nodes write both, and have no pydantic: what they read themselves goes through `plain_sidecar`.
"""

import json
import re
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from cpkit.backup.errors import DamagedBackup

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import TypeAdapter

SNAPSHOT, MANIFEST = "snapshot.db", "manifest.json"
Encryption = Literal["recipients", "passphrase", "none"]
Proof = Literal["stored", "read", "drill"]  # the store's copy was hashed; wholly read back; restored and compared

T = TypeVar("T", "Manifest", "Sidecar")
_DIGEST = re.compile("[0-9a-f]{64}")


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


def to_json(value: Manifest | Sidecar) -> bytes:
    """As it is written."""
    return (json.dumps(asdict(value), indent=2, default=_plain) + "\n").encode()


def read_manifest(data: bytes) -> Manifest:
    """A manifest; DamagedBackup when it is none."""
    return _read(_manifests, data, "the manifest")


def read_sidecar(data: bytes, name: str) -> Sidecar:
    """A sidecar; DamagedBackup when it is none, or another backup's."""
    found = _read(_sidecars, data, f"{name}.json")
    if found.name != name:
        raise DamagedBackup(f"{name}.json is of another backup: {found.name}")
    return found


def plain_sidecar(data: bytes, name: str) -> Sidecar:
    """A sidecar, read by the standard library alone; DamagedBackup when it is none, or another backup's."""
    try:
        told = json.loads(data)
        told["created"] = datetime.fromisoformat(told["created"])
        told["recipients"] = tuple(told["recipients"])
        told["verified"] = tuple(
            Verification(datetime.fromisoformat(each["at"]), each["proof"], each["by"]) for each in told["verified"]
        )
        found = Sidecar(**told)
        _require_sound(found)
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedBackup(f"{name}.json cannot be read: {error}") from None
    if found.name != name:
        raise DamagedBackup(f"{name}.json is of another backup: {found.name}")
    return found


def _require_sound(value: Manifest | Sidecar) -> None:
    """ValueError for what the types alone would let pass."""
    whole = (value,) if isinstance(value, Sidecar) else value.parts
    digests = [each.sha256 for each in whole] + ([value.manifest] if isinstance(value, Sidecar) else [])
    for digest in digests:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is no SHA-256")
    if any(each.size < 0 for each in whole) or value.revision < 1:
        raise ValueError("a size or the revision is too small")


def _read(adapter: "Callable[[], TypeAdapter[T]]", data: bytes, what: str) -> T:
    from pydantic import ValidationError

    try:
        value = adapter().validate_json(data)
        _require_sound(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DamagedBackup(f"{what} cannot be read: {place}{': ' if place else ''}{first['msg']}") from None
    except ValueError as error:
        raise DamagedBackup(f"{what} cannot be read: {error}") from None
    return value


@cache
def _manifests() -> "TypeAdapter[Manifest]":
    from pydantic import TypeAdapter

    return TypeAdapter(Manifest)


@cache
def _sidecars() -> "TypeAdapter[Sidecar]":
    from pydantic import TypeAdapter

    return TypeAdapter(Sidecar)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
