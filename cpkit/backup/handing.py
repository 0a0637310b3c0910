"""Hand secrets to another process: by an open descriptor of a file that is in memory alone.

They are in no argument, environment or file; whoever inherits the descriptor can read it, from the beginning each time.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cpkit.backup.errors import BackupError
from cpkit.backup.keys import Identities, Opening, Passphrase

LARGEST = 1 << 20


@contextmanager
def handed(key: Opening) -> Iterator[int]:
    """A descriptor that leads to the key, for as long as the context lasts."""
    if isinstance(key, Passphrase):
        body = {"kind": "passphrase", "text": key.text}
    elif isinstance(key, Identities):
        body = {"kind": "identities", "text": key.text, "name": key.name}
    else:
        body = {"kind": "none"}
    with _in_memory(body) as descriptor:
        yield descriptor


@contextmanager
def handed_files(contents: Mapping[str, str]) -> Iterator[int]:
    """A descriptor that leads to the contents of files, by their paths on a node."""
    with _in_memory(dict(contents)) as descriptor:
        yield descriptor


def received(descriptor: int) -> Opening:
    """The key behind an inherited descriptor, in as many processes as like."""
    body = _read(descriptor, "key")
    kind, text = body.get("kind"), body.get("text", "")
    if kind == "passphrase":
        return Passphrase(text)
    return Identities(text, body.get("name", "the identity")) if kind == "identities" else None


def received_files(descriptor: int) -> dict[str, str]:
    """The contents of files behind an inherited descriptor, by their paths on a node."""
    return _read(descriptor, "file")


def whole(descriptor: int, size: int = 1 << 20) -> Iterator[bytes]:
    """All that is behind an inherited descriptor, from its beginning."""
    at = 0
    while data := os.pread(descriptor, size, at):
        at += len(data)
        yield data


@contextmanager
def _in_memory(body: dict[str, str]) -> Iterator[int]:
    descriptor = os.memfd_create("handed", os.MFD_CLOEXEC)
    try:
        data = memoryview(json.dumps(body).encode())
        while data:
            data = data[os.write(descriptor, data) :]
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int, what: str) -> dict[str, str]:
    try:
        body = json.loads(os.pread(descriptor, LARGEST, 0))
    except (OSError, ValueError):
        body = None
    if not isinstance(body, dict):
        hint = "cpkit restore etcd hands it over; by hand nothing does."
        raise BackupError(f"descriptor {descriptor} holds no {what} of a backup", hint=hint)
    return body
