"""Manifests and sidecars as they are written, and read again; what is none is refused.

Nodes write both, and have no pydantic: what they read themselves goes through `plain_sidecar`.
"""

import json
import re
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from cpkit.backup.errors import DamagedBackup
from cpkit.backup.manifest import Manifest, Sidecar, Verification

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import TypeAdapter

T = TypeVar("T", Manifest, Sidecar)
_DIGEST = re.compile("[0-9a-f]{64}")


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
