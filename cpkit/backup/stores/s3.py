"""A store in S3, or in what speaks its language; credentials are found as every AWS client finds them."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cpkit.backup.errors import StoreError
from cpkit.backup.stores.model import PARTIAL, Item
from cpkit.backup.stores.s3_streams import UNDER_WAY, Body, Parts
from cpkit.backup.streams import Readable
from cpkit.errors import UsageError

PARAMETERS = ("endpoint", "region", "profile")
MOST_PARTS = 10_000
SMALLEST_PART = 8 << 20
MISSING = ("404", "NoSuchKey", "NotFound", "NoSuchUpload")


def open_s3(location: str) -> "S3":
    """The bucket and prefix of an s3:// URL; nothing is asked of the server yet."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise UsageError(
            "a store in S3 needs the Python package boto3", hint="Install it: pip install 'cpkit[s3]'"
        ) from error

    parts = urlsplit(location)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = sorted(set(asked) - set(PARAMETERS))
    if unknown:
        raise UsageError(f"{unknown[0]!r} means nothing to an S3 store", hint=f"Known are {', '.join(PARAMETERS)}.")
    endpoint = asked.get("endpoint")
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 4},
        s3={"addressing_style": "path" if endpoint else "auto"},
        # Not every server knows the newer checksums; what was stored is read back and hashed by us.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        session = boto3.Session(profile_name=asked.get("profile"))
        client = session.client("s3", endpoint_url=endpoint, region_name=asked.get("region"), config=config)
    except Exception as error:
        raise UsageError(f"the S3 client cannot be set up: {error}") from error
    prefix = parts.path.strip("/")
    return S3(client, parts.netloc, f"{prefix}/" if prefix else "", f"s3://{parts.netloc}/{prefix}".rstrip("/"))


@dataclass(frozen=True)
class S3:
    """A store in a bucket, below a prefix."""

    client: Any = field(repr=False)
    bucket: str
    prefix: str
    location: str

    def __str__(self) -> str:
        return self.location

    def list(self) -> tuple[Item, ...]:
        """The objects right below the prefix."""
        return tuple(item for item in self._objects() if not item.name.startswith("."))

    def unfinished(self) -> tuple[Item, ...]:
        """Uploads in parts that were never completed, and objects that never got their name."""
        strays = [item for item in self._objects() if item.name.startswith(PARTIAL)]
        with self.words():
            pages = self.client.get_paginator("list_multipart_uploads")
            rows = [
                row
                for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + PARTIAL)
                for row in page.get("Uploads", ())
            ]
        return (*strays, *(Item(self._name(row["Key"]), 0, row["Initiated"], row["UploadId"]) for row in rows))

    def stat(self, name: str) -> Item | None:
        """One object."""
        try:
            with self.words(missing=True):
                head = self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)
        except FileNotFoundError:
            return None
        return Item(name, head["ContentLength"], head["LastModified"])

    @contextmanager
    def open(self, name: str) -> Iterator[Readable]:
        """Read an object."""
        with self.words():
            body = self.client.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"]
        try:
            yield Body(self, body)
        finally:
            body.close()

    def read(self, name: str, limit: int) -> bytes:
        """A small object."""
        with self.open(name) as body:
            data = b""
            while len(data) <= limit and (more := body.read(limit + 1 - len(data))):
                data += more
        if len(data) > limit:
            raise StoreError(f"{name} is larger than such an object ever is")
        return data

    def write(self, name: str, data: bytes) -> None:
        """A small object; S3 puts it in place whole."""
        with self.words():
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=data)

    @contextmanager
    def upload(self, expected: int) -> Iterator[Parts]:
        """An upload in parts, of which some are on their way at a time."""
        key = f"{self.prefix}{PARTIAL}{secrets.token_hex(8)}"
        with self.words():
            handle = self.client.create_multipart_upload(Bucket=self.bucket, Key=key)["UploadId"]
        size = max(SMALLEST_PART, expected * 11 // 10 // MOST_PARTS)
        parts = None
        try:
            with ThreadPoolExecutor(UNDER_WAY) as pool:
                parts = Parts(self, key, handle, size, pool)
                yield parts
        finally:
            if parts is None or not parts.committed:
                with suppress(StoreError):
                    self._abort(key, handle)
            with suppress(StoreError):
                self.delete(self._name(key))

    def delete(self, name: str) -> None:
        """Remove an object."""
        with self.words():
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + name)

    def discard(self, item: Item) -> None:
        """Abort an upload, or remove an object that never got its name."""
        if item.handle:
            self._abort(self.prefix + item.name, item.handle)
        else:
            self.delete(item.name)

    def put_part(self, key: str, handle: str, number: int, data: bytes) -> dict[str, Any]:
        """Send a part of an upload."""
        with self.words():
            sent = self.client.upload_part(Bucket=self.bucket, Key=key, UploadId=handle, PartNumber=number, Body=data)
        return {"PartNumber": number, "ETag": sent["ETag"]}

    def complete(self, key: str, handle: str, parts: Any, name: str) -> None:
        """Make one object of the parts; S3 renames nothing, so the server copies it to its name."""
        if self.stat(name) is not None:
            raise StoreError(f"{name} is there already")
        with self.words():
            self.client.complete_multipart_upload(
                Bucket=self.bucket, Key=key, UploadId=handle, MultipartUpload={"Parts": parts}
            )
            self.client.copy({"Bucket": self.bucket, "Key": key}, self.bucket, self.prefix + name)

    def _abort(self, key: str, handle: str) -> None:
        with suppress(FileNotFoundError), self.words(missing=True):
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=handle)

    def _objects(self) -> Iterator[Item]:
        with self.words():
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix, Delimiter="/"):
                for row in page.get("Contents", ()):
                    yield Item(self._name(row["Key"]), row["Size"], row["LastModified"])

    def _name(self, key: str) -> str:
        return key.removeprefix(self.prefix)

    @contextmanager
    def words(self, *, missing: bool = False) -> Iterator[None]:
        """Turns the client's errors into words; that an object is missing passes as FileNotFoundError if asked."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except NoCredentialsError as error:
            hint = "They are found as by every AWS client: ~/.aws/credentials, AWS_… variables, or the machine's role."
            raise StoreError(f"there are no credentials for {self}", hint=hint) from error
        except ClientError as error:
            code, text = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
            if missing and code in MISSING:
                raise FileNotFoundError from error
            raise StoreError(f"{self} refuses: {text or code} ({code})") from error
        except (BotoCoreError, OSError) as error:
            raise StoreError(f"{self} cannot be reached: {error}") from error
