"""What differs between two states of a cluster, key by key, without decoding one value."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from cpkit.backup.resources import EVERYTHING, OTHERS, REGISTRY, resource
from cpkit.etcd.registry import OTHERWISE

Kind = Literal["added", "removed", "changed"]
Stamps = Mapping[bytes, bytes | int]
# What a cluster writes all the time, whatever its users do.
RESTLESS = ("events", "events.events.k8s.io", "leases", "masterleases", "peerserverleases", OTHERS)
SPOKEN = {kept: name for name, kept in OTHERWISE.items()}
PAGE = 2000


class Row(Protocol):
    """A key of etcd."""

    @property
    def key(self) -> bytes:
        """Its name."""

    @property
    def value(self) -> bytes:
        """What it holds."""

    @property
    def mod_revision(self) -> int:
        """When it was written last."""


class Rows(Protocol):
    """What can read keys at a revision."""

    def rows(self, start: bytes, end: bytes, *, revision: int, limit: int, keys_only: bool) -> tuple[Row, ...]:
        """The first keys of a range."""


@dataclass(frozen=True, order=True)
class Difference:
    """An object that is not the same in both."""

    resource: str
    name: str  # namespace/name, or the name of what has no namespace
    kind: Kind


def read(member: Rows, revision: int, *, by_content: bool) -> dict[bytes, bytes | int]:
    """A stamp of every key: the revision it was written at, or, across histories, the digest of its value."""
    found: dict[bytes, bytes | int] = {}
    start = EVERYTHING
    while rows := member.rows(start, EVERYTHING, revision=revision, limit=PAGE, keys_only=not by_content):
        for row in rows:
            found[row.key] = hashlib.sha256(row.value).digest() if by_content else row.mod_revision
        start = rows[-1].key + b"\0"
    return found


def compare(old: Stamps, new: Stamps) -> tuple[Difference, ...]:
    """Every object that was added, removed or changed, by resource and name."""
    return tuple(sorted(_differences(old, new)))


def restless(differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """Those among them that say nothing."""
    return tuple(each for each in differences if each.resource in RESTLESS)


def _differences(old: Stamps, new: Stamps) -> Iterator[Difference]:
    for key in old.keys() | new.keys():
        if old.get(key) == new.get(key):
            continue
        kind: Kind = "added" if key not in old else "removed" if key not in new else "changed"
        yield Difference(*_names(key), kind)


def _names(key: bytes) -> tuple[str, str]:
    """The resource as the API calls it, and the object's name."""
    if not key.startswith(REGISTRY):
        return OTHERS, key.decode("utf-8", "replace")
    prefix = resource(key)
    told = prefix.removeprefix(REGISTRY).rstrip(b"/").decode("utf-8", "replace")
    name = key.removeprefix(prefix).decode("utf-8", "replace")
    group, slash, plural = told.partition("/")
    return SPOKEN.get(told, f"{plural}.{group}" if slash else told), name
