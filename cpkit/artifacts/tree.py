"""Trees of released files: a directory, a tar, or an HTTP server of the same layout."""

import gzip
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from cpkit.artifacts.download import Downloader
from cpkit.artifacts.files import digest
from cpkit.artifacts.http import MIRROR_HINT, SMALL_FILE, NotThere, get_text, shown
from cpkit.artifacts.source import Tampered
from cpkit.errors import CpkitError


class Tree(Protocol):
    """Read access to a tree of files."""

    @property
    def place(self) -> str:
        """Where it is, fit to be shown."""

    def text(self, path: str) -> str:
        """A small file, whole."""

    def file(self, path: str, sha256: str, workspace: Path, label: str) -> Path:
        """A copy in `workspace` of a big file that hashes to `sha256`; Tampered if it does not."""


@dataclass(frozen=True)
class HttpTree:
    """A web server."""

    base: str
    downloader: Downloader

    @property
    def place(self) -> str:
        """Its address."""
        return shown(self.base)

    def text(self, path: str) -> str:
        """A small file, whole."""
        return get_text(self.downloader.client, f"{self.base}/{path}")

    def file(self, path: str, sha256: str, workspace: Path, label: str) -> Path:
        """The downloaded file."""
        return self.downloader.file(f"{self.base}/{path}", sha256, workspace, label)


@dataclass(frozen=True)
class DirectoryTree:
    """A directory."""

    base: Path

    @property
    def place(self) -> str:
        """Its path."""
        return str(self.base)

    def text(self, path: str) -> str:
        """A small file, whole."""
        return self._existing(path).read_text(errors="replace")

    def file(self, path: str, sha256: str, workspace: Path, label: str) -> Path:  # noqa: ARG002
        """The copied file; a link would change with the mirror."""
        copy = workspace / f"{sha256}.part"
        shutil.copyfile(self._existing(path), copy)
        return checked(copy, sha256, f"{self.base}/{path}")

    def _existing(self, path: str) -> Path:
        found = self.base / path
        if not found.is_file():
            raise _missing(path, self.place)
        return found


@dataclass(frozen=True)
class TarTree:
    """A tar, compressed or not, such as `cpkit artifacts export` writes."""

    base: Path

    @property
    def place(self) -> str:
        """Its path."""
        return str(self.base)

    def text(self, path: str) -> str:
        """A small file, whole."""
        if path not in self._small_files:
            raise _missing(path, self.place)
        return self._small_files[path]

    def file(self, path: str, sha256: str, workspace: Path, label: str) -> Path:  # noqa: ARG002
        """The unpacked file."""
        copy = workspace / f"{sha256}.part"
        with _open_tar(self.base) as tar:
            unpack(tar, path, copy, self.place)
        return checked(copy, sha256, f"{path} in {self.base}")

    @cached_property
    def _small_files(self) -> dict[str, str]:
        # In one pass: a compressed tar would otherwise be read once for each of them.
        texts: dict[str, str] = {}
        with _open_tar(self.base) as tar, _whole(self.place):
            for member in tar:
                if not member.isfile() or member.size > SMALL_FILE:
                    continue
                if body := tar.extractfile(member):
                    texts[member.name.removeprefix("./")] = body.read().decode(errors="replace")
        return texts


def checked(path: Path, sha256: str, what: str) -> Path:
    """The file itself if it hashes to `sha256`; otherwise it is deleted and Tampered raised."""
    if (found := digest(path)) == sha256:
        return path
    size = path.stat().st_size
    path.unlink()
    raise Tampered(
        f"{what} has the wrong checksum: its {size} bytes hash to {found}, published is {sha256}",
        hint="It is truncated or was changed. Nothing was cached. Copy or export it again, or name another --source.",
    )


def unpack(tar: tarfile.TarFile, path: str, target: Path, place: str) -> None:
    """Write one member of a tar, and nothing else of it, to `target`."""
    with _whole(place):
        member = next((m for m in tar.getmembers() if m.name.removeprefix("./") == path), None)
        body = tar.extractfile(member) if member else None
        if body is None:
            raise _missing(path, place)
        with body, target.open("wb") as handle:
            shutil.copyfileobj(body, handle, 1 << 20)


def _open_tar(path: Path) -> tarfile.TarFile:
    with _whole(str(path)):
        return tarfile.open(path)


@contextmanager
def _whole(place: str) -> Iterator[None]:
    """Turn what a truncated or damaged archive raises into one error."""
    try:
        yield
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise CpkitError(f"{place} cannot be unpacked: {error}", hint="Copy or export it again.") from error


def _missing(path: str, place: str) -> NotThere:
    return NotThere(f"{place} holds no {path}", hint=f"Check the version and the architecture. {MIRROR_HINT}")
