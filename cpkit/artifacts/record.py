"""The record beside cached binaries: what they must hash to, and where they came from."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

SCHEMA = 1
Kind = Literal["release", "mirror", "build"]


@dataclass(frozen=True)
class Build:
    """What a build was made of: enough to make it again."""

    go: str
    go_sum_sha256: str
    modules: dict[str, str]


@dataclass(frozen=True)
class Origin:
    """Where binaries came from."""

    kind: Kind
    place: str
    build: Build | None = None


@dataclass(frozen=True)
class FileRecord:
    """One binary as it was when it entered the cache."""

    name: str
    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Record:
    """What entered the cache, from where and when."""

    files: tuple[FileRecord, ...]
    origin: Origin
    fetched: datetime

    def to_json(self) -> str:
        """The record as text; `parse` reads it back."""
        body = asdict(self) | {"schema": SCHEMA, "fetched": self.fetched.isoformat(timespec="seconds")}
        return json.dumps(body, indent=2) + "\n"

    @classmethod
    def parse(cls, text: str) -> "Record | None":
        """Read a record; None for one that is damaged or of another schema."""
        try:
            return cls._from(json.loads(text))
        except (ValueError, KeyError, TypeError):
            return None

    @classmethod
    def _from(cls, raw: dict[str, Any]) -> "Record | None":
        if raw["schema"] != SCHEMA:
            return None
        origin = raw["origin"]
        build = Build(**origin["build"]) if origin["build"] else None
        return cls(
            files=tuple(FileRecord(**file) for file in raw["files"]),
            origin=Origin(kind=origin["kind"], place=origin["place"], build=build),
            fetched=datetime.fromisoformat(raw["fetched"]).astimezone(UTC),
        )
