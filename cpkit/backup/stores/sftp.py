"""A store on an SFTP server, reached as nodes are: pinned host keys, the user's own keys, jump hosts."""

import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from cpkit.backup.errors import StoreError
from cpkit.backup.stores.model import PARTIAL, Folder, Item
from cpkit.backup.streams import chunks
from cpkit.inventory import Node, SshTarget
from cpkit.ssh import connect

if TYPE_CHECKING:
    from paramiko import SFTPAttributes, SFTPClient, SFTPFile

T = TypeVar("T")
PATIENCE = 30.0  # seconds without an answer until the server is given up
CHUNK = 1 << 15  # what every SFTP server takes in one message
CLOSED = "Socket is closed"  # paramiko's words for a channel that broke earlier
WINDOW = 128  # messages that are asked for at once


@contextmanager
def open_sftp(location: str) -> Iterator["Sftp"]:
    """The directory of an sftp:// URL, for as long as the context lasts."""
    parts = urlsplit(location)
    root = unquote(parts.path)
    target = SshTarget(parts.hostname or "", port=parts.port or 22, user=unquote(parts.username or ""), become=False)
    node = Node(parts.hostname or "", parts.hostname or "", "load_balancer", target)
    with connect(node, timeout=10) as connection, connection.sftp(timeout=PATIENCE) as client:
        yield Sftp(client, root.removeprefix("/~/"), location)  # what is relative begins at the user's home


@dataclass(frozen=True)
class Sftp(Folder):
    """A store in a directory of an SFTP server."""

    client: "SFTPClient" = field(repr=False)
    root: str
    location: str

    def __str__(self) -> str:
        return self.location

    def stat(self, name: str) -> Item | None:
        """One file."""
        try:
            return _item(name, self.call(lambda: self.client.stat(self._path(name))))
        except FileNotFoundError:
            return None

    @contextmanager
    def open(self, name: str) -> Iterator["_Reading"]:
        """Read a file from the server."""
        try:
            file = self.call(lambda: self.client.open(self._path(name), "rb", bufsize=0))
        except FileNotFoundError:
            raise StoreError(f"{self} holds no {name}") from None
        try:
            yield _Reading(self, file, self.call(file.stat).st_size or 0)
        finally:
            with suppress(StoreError):
                self.call(file.close)

    def read(self, name: str, limit: int) -> bytes:
        """A small file."""
        with self.open(name) as file:
            if file.size > limit:
                raise StoreError(f"{name} is larger than such a file ever is")
            return b"".join(chunks(file))

    def write(self, name: str, data: bytes) -> None:
        """A small file, by a new one that takes its place."""
        with self._new() as (path, file):
            self.call(lambda: file.write(data))
            self.call(file.close)
            self.call(lambda: self.client.posix_rename(path, self._path(name)))

    @contextmanager
    def upload(self, expected: int) -> Iterator["_Writing"]:
        """A new file beside the others."""
        del expected  # SFTP has no common way to ask how much room there is
        with self._new() as (path, file):
            file.set_pipelined(True)
            yield _Writing(self, path, file)

    def delete(self, name: str) -> None:
        """Remove a file."""
        with suppress(FileNotFoundError):
            self.call(lambda: self.client.remove(self._path(name)))

    def discard(self, item: Item) -> None:
        """Remove a file that was never finished."""
        self.delete(item.name)

    def place(self, path: str, name: str) -> None:
        """Give a finished file its name."""
        if self.stat(name) is not None:
            raise StoreError(f"{name} is there already")
        self.call(lambda: self.client.posix_rename(path, self._path(name)))

    @contextmanager
    def _new(self) -> Iterator[tuple[str, "SFTPFile"]]:
        self._make_root()
        path = self._path(f"{PARTIAL}{secrets.token_hex(8)}")
        file = self.call(lambda: self.client.open(path, "wx", bufsize=0))
        try:
            self.call(lambda: file.chmod(0o600))
            yield path, file
        finally:
            for undo in (file.close, lambda: self.client.remove(path)):
                with suppress(FileNotFoundError, StoreError):
                    self.call(undo)

    def _make_root(self) -> None:
        with suppress(FileNotFoundError):
            self.call(lambda: self.client.stat(self.root))
            return
        above = ""
        for word in self.root.split("/"):
            above += word
            if above:
                with suppress(StoreError):  # what is there already; a real trouble shows when the file is opened
                    self.call(lambda path=above: self.client.mkdir(path, 0o700))  # type: ignore[misc]
            above += "/"

    def _items(self) -> Iterator[Item]:
        try:
            rows = self.call(lambda: self.client.listdir_attr(self.root))
        except FileNotFoundError:
            return
        for row in rows:
            if stat.S_ISREG(row.st_mode or 0):
                yield _item(row.filename, row)

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def call(self, call: Callable[[], T]) -> T:
        """A call whose failures are in words; that a file is missing passes as it is."""
        from paramiko import SSHException

        try:
            return call()
        except FileNotFoundError:
            raise
        except TimeoutError as error:
            raise StoreError(f"{self} did not answer for {PATIENCE:g} s") from error
        except (SSHException, EOFError) as error:
            raise StoreError(f"the connection to {self} broke: {error or type(error).__name__}") from error
        except OSError as error:
            if str(error) == CLOSED:
                raise StoreError(f"the connection to {self} broke: {error}") from error
            hint = "The disk may be full: SFTP does not always tell." if str(error) == "Failure" else ""
            raise StoreError(f"{self} refuses: {error.strerror or error}", hint=hint) from error


@dataclass(frozen=True)
class _Writing:
    store: Sftp
    path: str
    file: "SFTPFile"

    def write(self, data: bytes, /) -> None:
        """The next part of it."""
        self.store.call(lambda: self.file.write(data))

    def commit(self, name: str) -> None:
        """Put it in place under its name."""

        def settle() -> None:
            self.file.set_pipelined(False)
            size = self.file.tell()
            self.file.close()
            if (self.store.client.stat(self.path).st_size or 0) != size:
                raise OSError("it has not taken all of the data")

        self.store.call(settle)
        self.store.place(self.path, name)


class _Reading:
    """Asks for many blocks at once, and never for more than it holds."""

    def __init__(self, store: Sftp, file: "SFTPFile", size: int) -> None:
        self.size = size
        self._store, self._file = store, file
        self._at = 0
        self._held = memoryview(b"")

    def read(self, size: int = CHUNK, /) -> bytes:
        """At most so many bytes."""
        if not self._held and self._at < self.size:
            self._held = memoryview(self._store.call(self._window))
        data, self._held = self._held[:size], self._held[size:]
        return bytes(data)

    def _window(self) -> bytes:
        end = min(self.size, self._at + WINDOW * CHUNK)
        wanted = [(at, min(CHUNK, end - at)) for at in range(self._at, end, CHUNK)]
        data = b"".join(self._file.readv(wanted))
        if len(data) != end - self._at:
            raise OSError("it gives back less than it said it holds")
        self._at = end
        return data


def _item(name: str, row: "SFTPAttributes") -> Item:
    return Item(name, row.st_size or 0, datetime.fromtimestamp(row.st_mtime or 0, UTC))
