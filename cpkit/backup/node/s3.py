"""A store in S3, for a node: the standard library, and credentials in a file that the role has laid down."""

import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from xml.etree.ElementTree import Element

from cpkit.backup.errors import StoreError
from cpkit.backup.node.s3_calls import Caller, Missing, place, read_credentials
from cpkit.backup.node.settings import Settings
from cpkit.backup.stores.model import PARTIAL, Item
from cpkit.backup.stores.s3_streams import UNDER_WAY, Part, Parts

MOST_PARTS = 10_000
SMALLEST_PART = 8 << 20
LARGEST_COPY = 1 << 30  # bytes in one call; S3 takes five times that


def open_s3(settings: Settings) -> "S3":
    """The bucket and prefix of an s3:// URL; nothing is asked of the server yet."""
    return S3(Caller(place(settings.store), read_credentials(Path(settings.s3_credentials))))


@dataclass(frozen=True)
class S3:
    """A store in a bucket, below a prefix."""

    caller: Caller
    largest_copy: int = LARGEST_COPY

    def __str__(self) -> str:
        return str(self.caller.place)

    def list(self) -> tuple[Item, ...]:
        """The objects right below the prefix."""
        return tuple(item for item in self._objects("") if not item.name.startswith("."))

    def unfinished(self) -> tuple[Item, ...]:
        """Uploads in parts that were never completed, and objects that never got their name."""
        rows = self._rows({"uploads": "", "prefix": self._key(PARTIAL)}, "Upload", ("key-marker", "upload-id-marker"))
        begun = (Item(self._name(row), 0, _at(row, "Initiated"), row.findtext("{*}UploadId", "")) for row in rows)
        return (*self._objects(PARTIAL), *begun)

    def stat(self, name: str) -> Item | None:
        """One object."""
        return next((item for item in self._objects(name) if item.name == name), None)

    @contextmanager
    def open(self, name: str) -> Iterator["_Body"]:
        """Read an object."""
        with self.caller.asked("GET", self._key(name), query={}, headers={}) as answer:
            yield _Body(self, answer)

    def read(self, name: str, limit: int) -> bytes:
        """A small object."""
        with self.open(name) as body:
            data = body.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"{name} is larger than such an object ever is")
        return data

    def write(self, name: str, data: bytes) -> None:
        """A small object; S3 puts it in place whole."""
        self.caller.call("PUT", self._key(name), data=data)

    @contextmanager
    def upload(self, expected: int) -> Iterator[Parts]:
        """An upload in parts, of which some are on their way at a time."""
        name = f"{PARTIAL}{secrets.token_hex(8)}"
        handle = self._begin(name)
        parts = None
        try:
            with ThreadPoolExecutor(UNDER_WAY) as pool:
                parts = Parts(self, name, handle, max(SMALLEST_PART, expected * 11 // 10 // MOST_PARTS), pool)
                yield parts
        finally:
            if parts is None or not parts.committed:
                with suppress(StoreError):
                    self._abort(name, handle)
            with suppress(StoreError):
                self.delete(name)

    def rename(self, name: str, to: str) -> None:
        """Give an object another name by a copy that the server makes; StoreError when it is gone."""
        found = self.stat(name)
        if found is None:
            raise StoreError(f"{self} holds no {name}")
        if found.size <= self.largest_copy:
            self.caller.call("PUT", self._key(to), x_amz_copy_source=self._source(name))
        else:
            self._copy_in_parts(name, to, found.size)
        self.delete(name)

    def delete(self, name: str) -> None:
        """Remove an object."""
        self.caller.call("DELETE", self._key(name))

    def discard(self, item: Item) -> None:
        """Abort an upload, or remove an object that never got its name."""
        if item.handle:
            self._abort(item.name, item.handle)
        else:
            self.delete(item.name)

    def put_part(self, key: str, handle: str, number: int, data: bytes) -> Part:
        """Send a part of an upload."""
        query = {"partNumber": str(number), "uploadId": handle}
        with self.caller.asked("PUT", self._key(key), query=query, headers={}, data=data) as answer:
            return {"PartNumber": number, "ETag": answer.headers["ETag"]}

    def complete(self, key: str, handle: str, parts: Sequence[Part], name: str) -> None:
        """Make one object of the parts, under a name."""
        if self.stat(name) is not None:
            raise StoreError(f"{name} is there already")
        self._join(key, handle, parts)
        self.rename(key, name)

    def _begin(self, name: str) -> str:
        handle = self.caller.call("POST", self._key(name), {"uploads": ""}).findtext("{*}UploadId", "")
        if not handle:
            raise StoreError(f"{self} does not say by what it knows an upload")
        return handle

    def _join(self, name: str, handle: str, parts: Sequence[Part]) -> None:
        rows = (f"<Part><PartNumber>{row['PartNumber']}</PartNumber><ETag>{row['ETag']}</ETag></Part>" for row in parts)
        body = f"<CompleteMultipartUpload>{''.join(rows)}</CompleteMultipartUpload>"
        self.caller.call("POST", self._key(name), {"uploadId": handle}, body.encode())

    def _copy_in_parts(self, name: str, to: str, size: int) -> None:
        handle = self._begin(to)
        parts: Sequence[Part] = ()
        try:
            for number, first in enumerate(range(0, size, self.largest_copy), 1):
                span = f"bytes={first}-{min(first + self.largest_copy, size) - 1}"
                query = {"partNumber": str(number), "uploadId": handle}
                source = self._source(name)
                told = self.caller.call(
                    "PUT", self._key(to), query, x_amz_copy_source=source, x_amz_copy_source_range=span
                )
                parts = (*parts, {"PartNumber": number, "ETag": told.findtext("{*}ETag", "")})
            self._join(to, handle, parts)
        except BaseException:
            with suppress(StoreError):
                self._abort(to, handle)
            raise

    def _abort(self, name: str, handle: str) -> None:
        with suppress(Missing):
            self.caller.call("DELETE", self._key(name), {"uploadId": handle})

    def _objects(self, beginning: str) -> Iterator[Item]:
        query = {"list-type": "2", "delimiter": "/", "prefix": self._key(beginning)}
        for row in self._rows(query, "Contents", ("continuation-token",)):
            yield Item(self._name(row), int(row.findtext("{*}Size", "0")), _at(row, "LastModified"))

    def _rows(self, query: dict[str, str], tag: str, markers: tuple[str, ...]) -> Iterator[Element]:
        """The rows of a listing, page by page."""
        more: dict[str, str] = {}
        while True:
            page = self.caller.call("GET", query=query | more)
            yield from page.iterfind(f"{{*}}{tag}")
            if page.findtext("{*}IsTruncated") != "true":
                return
            told = ("NextContinuationToken",) if len(markers) == 1 else ("NextKeyMarker", "NextUploadIdMarker")
            more = {marker: page.findtext(f"{{*}}{name}", "") for marker, name in zip(markers, told, strict=True)}

    def _key(self, name: str) -> str:
        return f"{self.caller.place.prefix}{name}"

    def _name(self, row: Element) -> str:
        return row.findtext("{*}Key", "").removeprefix(self.caller.place.prefix)

    def _source(self, name: str) -> str:
        return self.caller.place.request("GET", self._key(name)).encoded_path


def _at(row: Element, name: str) -> datetime:
    return datetime.fromisoformat(row.findtext(f"{{*}}{name}", ""))


@dataclass(frozen=True)
class _Body:
    store: S3
    answer: HTTPResponse

    def read(self, size: int = 1 << 16, /) -> bytes:
        """At most so many bytes; an object that ends too early is told, never taken for a whole one."""
        try:
            data = self.answer.read(size)
        except (OSError, HTTPException) as error:
            raise StoreError(f"{self.store} broke off: {error or type(error).__name__}") from error
        if not data and size and self.answer.length:
            raise StoreError(f"{self.store} broke off: {self.answer.length} bytes are missing")
        return data
