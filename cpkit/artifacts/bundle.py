"""Air-gap bundles: what was verified here, in the layout another machine names as its source."""

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cpkit.artifacts.cache import Cache
from cpkit.artifacts.entry import Entry
from cpkit.artifacts.files import copy_synced, link, sync_directory, write_synced
from cpkit.artifacts.manifest import MANIFEST, SCHEMA
from cpkit.artifacts.model import Binary
from cpkit.artifacts.progress import Progress
from cpkit.errors import CpkitError, UsageError
from cpkit.versions import version_table

Compression = Literal["", "gz", "xz"]
TAR_SUFFIXES: dict[str, Compression] = {".tar": "", ".tar.gz": "gz", ".tgz": "gz", ".tar.xz": "xz"}


def export(entries: Sequence[Entry], destination: Path, cache: Cache, progress: Progress) -> None:
    """Write the entries, hashed once more, to a tar or into a directory."""
    for entry in entries:
        if problems := cache.verify(entry.target):
            raise CpkitError(
                f"{entry.target} in the cache is damaged: {'; '.join(problems)}",
                hint="Run `cpkit artifacts verify --drop`, then this again.",
            )
    suffix = next((suffix for suffix in TAR_SUFFIXES if destination.name.endswith(suffix)), None)
    if suffix is not None and not destination.is_dir():
        _write_tar(entries, destination, TAR_SUFFIXES[suffix], progress)
    elif destination.is_file():
        known = ", ".join(TAR_SUFFIXES)
        raise UsageError(f"{destination} is a file", hint=f"Name a directory, or a file that ends in {known}.")
    else:
        _write_directory(entries, destination, progress)


def _manifest(entries: Iterable[Entry], before: Sequence[dict[str, Any]] = ()) -> str:
    contents = {(item["product"], item["version"], item["arch"]): item for item in before}
    for entry in entries:
        item = entry.summary()
        contents[item["product"], item["version"], item["arch"]] = item
    body = {
        "schema": SCHEMA,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _table(),
        "contents": [contents[key] for key in sorted(contents)],
    }
    return json.dumps(body, indent=2) + "\n"


def _table() -> dict[str, dict[str, str]]:
    return {
        series: {field.name: str(getattr(row, field.name)) for field in fields(row)}
        for series, row in version_table().minors.items()
    }


def _checksum_line(binary: Binary) -> str:
    return f"{binary.sha256}  {binary.name}\n"


def _write_directory(entries: Sequence[Entry], root: Path, progress: Progress) -> None:
    for entry in entries:
        progress.say(f"Copying {entry.target}")
        folder = root / entry.target.release_dir
        folder.mkdir(parents=True, exist_ok=True)
        written: dict[str, Path] = {}
        for binary in entry.binaries:
            part = folder / f".{binary.name}.part"
            part.unlink(missing_ok=True)
            if binary.sha256 in written:
                link(written[binary.sha256], part)
            else:
                copy_synced(binary.path, part)
            written[binary.sha256] = part.rename(folder / binary.name)
            write_synced(folder / f"{binary.name}.sha256", _checksum_line(binary))
        sync_directory(folder)
    manifest = root / MANIFEST
    before = json.loads(manifest.read_text())["contents"] if manifest.exists() else ()
    write_synced(manifest, _manifest(entries, before))


def _write_tar(entries: Sequence[Entry], destination: Path, compression: Compression, progress: Progress) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(f"{destination.name}.part")
    with tarfile.open(part, f"w:{compression}", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        _add_text(tar, MANIFEST, _manifest(entries))
        # All checksums first: a reader that wants only them need not read past the binaries.
        for entry in entries:
            for binary in entry.binaries:
                _add_text(tar, f"{entry.target.release_dir}/{binary.name}.sha256", _checksum_line(binary))
        for entry in entries:
            progress.say(f"Packing {entry.target}")
            for binary in entry.binaries:  # tarfile writes a file with several names once
                tar.add(binary.path, f"{entry.target.release_dir}/{binary.name}", filter=_anonymous)
    part.replace(destination)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    member = _anonymous(tarfile.TarInfo(name))
    member.size, member.mode, member.mtime = len(text), 0o644, int(datetime.now(UTC).timestamp())
    tar.addfile(member, io.BytesIO(text.encode()))
