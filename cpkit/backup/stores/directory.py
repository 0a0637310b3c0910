"""A store in a directory: on a disk, or on whatever is mounted there."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from cpkit.backup.errors import StoreError
from cpkit.backup.stores.model import PARTIAL, Folder, Item

BEHIND = 8 << 20  # bytes that may wait for the disk to be told of them


def open_directory(location: str) -> "Directory":
    """The directory of a path or a file:// URL; made, for its owner alone, when the first backup arrives."""
    path = Path(unquote(urlsplit(location).path)) if location.startswith("file:") else Path(location)
    return Directory(path.expanduser().absolute())


@dataclass(frozen=True)
class Directory(Folder):
    """A store in a directory."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def stat(self, name: str) -> Item | None:
        """One file."""
        try:
            return _item(self.root / name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from error

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Read a file from the disk, not from what the kernel remembers of it."""
        try:
            file = (self.root / name).open("rb", buffering=0)
        except OSError as error:
            raise self._failed(error) from error
        with file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            try:
                yield file
            except OSError as error:
                if error.filename is None and error.errno == errno.EIO:
                    raise self._failed(error) from error
                raise

    def read(self, name: str, limit: int) -> bytes:
        """A small file."""
        with self.open(name) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"{self.root / name} is larger than such a file ever is")
        return data

    def write(self, name: str, data: bytes) -> None:
        """A small file, by a new one that takes its place."""
        with self._new() as (path, file):
            file.write(data)
            _settle(file)
            path.rename(self.root / name)
            self._sync()

    @contextmanager
    def upload(self, expected: int) -> Iterator["_File"]:
        """A new file beside the others; refused at once when the disk has no room for it."""
        with self._new() as (path, file):
            stat = os.fstatvfs(file.fileno())
            if stat.f_bavail * stat.f_frsize < expected:
                free = stat.f_bavail * stat.f_frsize
                raise StoreError(f"{self.root} has {free / 1e6:.0f} MB left, and {expected / 1e6:.0f} MB are needed")
            yield _File(self, path, file)

    def rename(self, name: str, to: str) -> None:
        """Give a file another name; StoreError when it is gone."""
        try:
            (self.root / name).rename(self.root / to)
            self._sync()
        except OSError as error:
            raise self._failed(error) from error

    def delete(self, name: str) -> None:
        """Remove a file."""
        try:
            (self.root / name).unlink(missing_ok=True)
            self._sync()
        except OSError as error:
            raise self._failed(error) from error

    def discard(self, item: Item) -> None:
        """Remove a file that was never finished."""
        self.delete(item.name)

    def place(self, path: Path, file: IO[bytes], name: str) -> None:
        """Give a new file its name, on the disk."""
        _settle(file)
        target = self.root / name
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        path.rename(target)
        self._sync()

    @contextmanager
    def _new(self) -> Iterator[tuple[Path, IO[bytes]]]:
        path = self.root / f"{PARTIAL}{secrets.token_hex(8)}"
        try:
            self.root.mkdir(parents=True, mode=0o700, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                yield path, file
        except OSError as error:
            raise self._failed(error) from error
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _items(self) -> Iterator[Item]:
        try:
            names = sorted(entry.name for entry in os.scandir(self.root) if entry.is_file(follow_symlinks=False))
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed(error) from error
        for name in names:
            with suppress(FileNotFoundError):
                yield _item(self.root / name)

    def _sync(self) -> None:
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _failed(self, error: OSError) -> StoreError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreError(f"{self.root} is full", hint="Make room, or prune: cpkit backup prune")
        if error.errno == errno.EEXIST:
            return StoreError(f"{error.filename} is there already")
        return StoreError(f"{error.filename or self.root}: {error.strerror}")


@dataclass
class _File:
    store: Directory
    path: Path
    file: IO[bytes]
    written: int = 0
    handed: int = 0  # bytes the kernel was told to begin with

    def write(self, data: bytes, /) -> None:
        """The next part of it."""
        self.file.write(data)
        self.written += len(data)
        if self.written - self.handed >= BEHIND:
            self._hand_over()

    def _hand_over(self) -> None:
        """Have the kernel begin to write, which it says of pages it is to forget, so that the end waits for little."""
        self.file.flush()
        os.posix_fadvise(self.file.fileno(), self.handed, self.written - self.handed, os.POSIX_FADV_DONTNEED)
        self.handed = self.written

    def commit(self, name: str) -> None:
        """Put it in place under its name."""
        self.store.place(self.path, self.file, name)


def _settle(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _item(path: Path) -> Item:
    stat = path.stat()
    return Item(path.name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))
