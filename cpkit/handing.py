"""Hand secrets to another process: by an open descriptor of a file that is in memory alone.

They are in no argument, environment or file; whoever inherits the descriptor can read it, from the beginning each time.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cpkit.errors import CpkitError

LARGEST = 1 << 20


@contextmanager
def handed(contents: Mapping[str, str]) -> Iterator[int]:
    """A descriptor that leads to texts by their names, for as long as the context lasts."""
    descriptor = os.memfd_create("handed", os.MFD_CLOEXEC)
    try:
        data = memoryview(json.dumps(dict(contents)).encode())
        while data:
            data = data[os.write(descriptor, data) :]
        yield descriptor
    finally:
        os.close(descriptor)


def received(descriptor: int, what: str = "file") -> dict[str, str]:
    """The texts behind an inherited descriptor, in as many processes as like; CpkitError when there are none."""
    try:
        body = json.loads(os.pread(descriptor, LARGEST, 0))
    except (OSError, ValueError):
        body = None
    if not isinstance(body, dict):
        raise CpkitError(f"descriptor {descriptor} holds no {what}", hint="cpkit hands it over; by hand nothing does.")
    return body


def whole(descriptor: int, size: int = 1 << 20) -> Iterator[bytes]:
    """All that is behind an inherited descriptor, from its beginning."""
    at = 0
    while data := os.pread(descriptor, size, at):
        at += len(data)
        yield data
