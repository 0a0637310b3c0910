"""What every store can do."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cpkit.backup.streams import Readable

PARTIAL = ".partial-"  # how the name of an upload under way begins


@dataclass(frozen=True)
class Item:
    """Something in a store."""

    name: str
    size: int
    modified: datetime
    handle: str = ""  # what the store knows an unfinished upload by


class Upload(Protocol):
    """An object on its way in; it is not there before it is committed."""

    def write(self, data: bytes, /) -> None:
        """The next part of it."""

    def commit(self, name: str) -> None:
        """Put it in place under a name, durably; refused when the name is taken."""


class Store(Protocol):
    """A flat place of named objects; everything that fails raises a StoreError in words."""

    def list(self) -> tuple[Item, ...]:
        """What is there."""

    def unfinished(self) -> tuple[Item, ...]:
        """Uploads that were never committed."""

    def stat(self, name: str) -> Item | None:
        """One object, or None when it is not there."""

    def open(self, name: str) -> AbstractContextManager[Readable]:
        """Read an object from its beginning, past any cache as far as that can be."""

    def read(self, name: str, limit: int) -> bytes:
        """A small object; StoreError when it is larger than the limit."""

    def write(self, name: str, data: bytes) -> None:
        """A small object, whole or not at all, in the place of an earlier one."""

    def upload(self, expected: int) -> AbstractContextManager[Upload]:
        """Take in an object of about that size; nothing stays behind unless it is committed."""

    def delete(self, name: str) -> None:
        """Take an object away; it may be gone already."""

    def discard(self, item: Item) -> None:
        """Take an unfinished upload away."""


class Folder(ABC):
    """What stores have in common whose objects are files of one directory: hidden ones are not there yet."""

    def list(self) -> tuple[Item, ...]:
        """The files in it."""
        return tuple(item for item in self._items() if not item.name.startswith("."))

    def unfinished(self) -> tuple[Item, ...]:
        """Files that were never renamed to what they were to be."""
        return tuple(item for item in self._items() if item.name.startswith(PARTIAL))

    @abstractmethod
    def _items(self) -> Iterable[Item]:
        """Every file, hidden ones as well."""
