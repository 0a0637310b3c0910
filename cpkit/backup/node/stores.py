"""The stores that a node can write to, and which of them is the one that all nodes share."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlsplit

from cpkit.backup.errors import StoreError
from cpkit.backup.node.record import Record
from cpkit.backup.node.settings import Settings
from cpkit.backup.stores.directory import open_directory
from cpkit.backup.stores.model import PARTIAL, Store

IDENTITY = ".cpkit-store"
PENDING = f"{PARTIAL}slot-"  # sidecars that wait for their name begin so


class Renaming(Store, Protocol):
    """A store that can give a file another name at once; in S3 it is a copy, of a small object within milliseconds."""

    def rename(self, name: str, to: str) -> None:
        """Give a file another name; StoreError when it is gone."""


@contextmanager
def opened(settings: Settings) -> Iterator[Renaming]:
    """The store of a schedule; a directory must be there already, for an absent one may be a mount that is missing."""
    scheme = urlsplit(settings.store).scheme
    if scheme == "s3":
        from cpkit.backup.node.s3 import open_s3

        yield open_s3(settings)
        return
    if scheme == "sftp":
        from cpkit.backup.node.sftp import open_sftp

        with open_sftp(settings) as store:
            yield store
        return
    directory = open_directory(settings.store)
    if not directory.root.is_dir():
        hint = "Is it mounted? It has to be one and the same on all nodes."
        raise StoreError(f"{directory} is no directory here", hint=hint)
    yield directory


def identify(store: Store, location: str, record: Record | None) -> str:
    """The store's identity, made with its first backup; StoreError when it is not the store that the others use.

    A mount that is missing leaves an empty directory behind, and a directory of the same name on every node would hold
    a part of the backups each: neither may be taken for the store.
    """
    held = store.read(IDENTITY, 64).decode("ascii", "replace").strip() if store.stat(IDENTITY) else ""
    expected = record.store_id if record and record.store == location else ""
    if expected and held != expected:
        raise StoreError(
            f"{store} is not the store that holds {record.name if record else 'the last backup'}",
            hint="Is it mounted on this node? A directory has to be one and the same on all of them, as NFS is.",
        )
    if not held:
        held = secrets.token_hex(8)
        store.write(IDENTITY, f"{held}\n".encode())
    return held


def fence(store: Store) -> None:
    """Take away sidecars that wait for their name: their writers have lost the lock, and can publish no more."""
    for item in store.unfinished():
        if item.name.startswith(PENDING):
            store.discard(item)
