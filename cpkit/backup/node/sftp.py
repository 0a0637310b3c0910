"""A store on an SFTP server, by OpenSSH's own client: root's keys, or the one named, and pinned host keys.

`sftp` takes files alone, so what goes there waits in the node's state directory, sealed, until it has arrived.
"""

import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from cpkit.backup.errors import StoreError
from cpkit.backup.node.settings import Settings
from cpkit.backup.stores.model import PARTIAL, Folder, Item

CONNECT = 15  # seconds
SLOWEST = 1 << 20  # bytes a second; what is slower is given up
PATIENCE = 60.0
_ROW = re.compile(r"^-\S+ +\S+ +\S+ +\S+ +(\d+) +\S+ +\S+ +\S+ +(\S+)$")


@contextmanager
def open_sftp(settings: Settings) -> Iterator["Sftp"]:
    """The directory of an sftp:// URL; what waits on the node is taken away in the end."""
    folder = Path(settings.state) / "sending"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()  # of a run that was killed; the lock is held
    parts = urlsplit(settings.store)
    user = f"{unquote(parts.username)}@" if parts.username else ""
    options = [
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=yes",
        f"-oConnectTimeout={CONNECT}",
        "-oServerAliveInterval=15",
    ]
    options += [f"-oIdentityFile={settings.ssh_key}", "-oIdentitiesOnly=yes"] if settings.ssh_key else []
    argv = ["sftp", "-q", *options, "-P", str(parts.port or 22), "-b", "-", f"{user}{parts.hostname}"]
    try:
        yield Sftp(tuple(argv), unquote(parts.path).removeprefix("/~/"), settings.store, folder)
    finally:
        for path in folder.iterdir():
            path.unlink()


@dataclass(frozen=True)
class Sftp(Folder):
    """A store in a directory of an SFTP server; each call is a connection of its own."""

    argv: tuple[str, ...] = field(repr=False)
    root: str
    location: str
    folder: Path

    def __str__(self) -> str:
        return self.location

    def stat(self, name: str) -> Item | None:
        """One file."""
        return next((item for item in self._items() if item.name == name), None)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Read a file from the server, by way of this node's disk."""
        path = self.folder / f"back-{secrets.token_hex(8)}"
        try:
            self._do(f"get {self._path(name)} {shlex.quote(str(path))}", size=self._size(name))
            with path.open("rb") as file:
                yield file
        finally:
            path.unlink(missing_ok=True)

    def read(self, name: str, limit: int) -> bytes:
        """A small file."""
        with self.open(name) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"{name} is larger than such a file ever is")
        return data

    def write(self, name: str, data: bytes) -> None:
        """A small file, by a new one that takes its place."""
        with self._new() as (path, file):
            file.write(data)
            file.flush()
            self._send(path, name)

    @contextmanager
    def upload(self, expected: int) -> Iterator["_File"]:
        """A new file beside the others; refused at once when the node has no room for it while it waits."""
        with self._new() as (path, file):
            stat = os.fstatvfs(file.fileno())
            free = stat.f_bavail * stat.f_frsize
            if free < expected:
                what = f"{self.folder} has {free / 1e6:.0f} MB left, and {expected / 1e6:.0f} MB are needed"
                raise StoreError(what, hint="A backup waits there, sealed, until the SFTP server has taken it.")
            yield _File(self, path, file)

    def rename(self, name: str, to: str) -> None:
        """Give a file another name; StoreError when it is gone."""
        self._do(f"rename {self._path(name)} {self._path(to)}")

    def delete(self, name: str) -> None:
        """Remove a file."""
        try:
            self._do(f"rm {self._path(name)}")
        except StoreError:  # a connection of its own tells why, and is needed only when something is wrong
            if self.stat(name):
                raise

    def discard(self, item: Item) -> None:
        """Remove a file that was never finished."""
        self.delete(item.name)

    def place(self, path: Path, name: str) -> None:
        """Send a finished file; it has its name only once it is whole."""
        if self.stat(name):
            raise StoreError(f"{name} is there already")
        self._send(path, name)

    def _send(self, path: Path, name: str) -> None:
        size = path.stat().st_size
        partial = f"{PARTIAL}{secrets.token_hex(8)}"
        try:
            # What is put has the mode of the file here, 0600, and `-f` has the server write it to its disk.
            self._do(f"put -p -f {shlex.quote(str(path))} {self._path(partial)}", size=size)
            self._require(partial, size)
            self.rename(partial, name)
        except StoreError:
            self._do(f"-rm {self._path(partial)}")
            raise

    @contextmanager
    def _new(self) -> Iterator[tuple[Path, IO[bytes]]]:
        path = self.folder / secrets.token_hex(8)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                yield path, file
        except OSError as error:
            raise StoreError(f"{error.filename or self.folder}: {error.strerror}") from error
        finally:
            path.unlink(missing_ok=True)

    def _items(self) -> tuple[Item, ...]:
        rows = (_ROW.match(line) for line in self._do(f"ls -lan {shlex.quote(self.root)}").splitlines())
        now = datetime.now(UTC)
        return tuple(Item(row[2].rpartition("/")[2], int(row[1]), now) for row in rows if row)

    def _size(self, name: str) -> int:
        found = self.stat(name)
        if found is None:
            raise StoreError(f"{self} holds no {name}")
        return found.size

    def _require(self, name: str, size: int) -> None:
        if self._size(name) != size:
            raise StoreError(f"{self} has not taken all of the data", hint="Its disk may be full.")

    def _path(self, name: str) -> str:
        return shlex.quote(f"{self.root.rstrip('/')}/{name}")

    def _do(self, line: str, *, size: int = 0) -> str:
        """What one command of sftp prints."""
        try:
            done = subprocess.run(
                self.argv,
                input=f"{line}\n",
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE + size / SLOWEST,
                env={"LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(Path.home())},
            )
        except subprocess.TimeoutExpired as error:
            raise StoreError(f"{self} did not answer within {error.timeout:.0f} s") from None
        except OSError as error:
            raise StoreError(f"sftp cannot be run: {error.strerror}", hint="Install OpenSSH's client.") from error
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"code {done.returncode}"
            hint = "On the node, as root, try: sftp " + self.argv[-1] if done.returncode == 255 else ""
            raise StoreError(f"{self} refuses: {said[:300]}", hint=hint)
        return done.stdout


@dataclass(frozen=True)
class _File:
    store: Sftp
    path: Path
    file: IO[bytes]

    def write(self, data: bytes, /) -> None:
        """The next part of it."""
        self.file.write(data)

    def commit(self, name: str) -> None:
        """Put it in place under its name."""
        self.file.flush()
        self.store.place(self.path, name)
