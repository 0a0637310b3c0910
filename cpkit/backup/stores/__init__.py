"""Where backups are kept: a directory, an SFTP server, or S3."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from cpkit.backup.stores.model import Item, Store, Upload
from cpkit.errors import UsageError
from cpkit.inventory.values import store_location

__all__ = ["Item", "Store", "Upload", "open_store"]


@contextmanager
def open_store(location: str) -> Iterator[Store]:
    """The store at a location, for as long as the context lasts."""
    try:
        store_location(location)
    except ValueError as error:
        raise UsageError(f"the store's location {error}" if "must" in str(error) else str(error)) from None
    scheme = urlsplit(location).scheme
    if scheme == "sftp":
        from cpkit.backup.stores.sftp import open_sftp

        with open_sftp(location) as store:
            yield store
    elif scheme == "s3":
        from cpkit.backup.stores.s3 import open_s3

        yield open_s3(location)
    else:
        from cpkit.backup.stores.directory import open_directory

        yield open_directory(location)
