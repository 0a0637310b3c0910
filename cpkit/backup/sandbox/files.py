"""Files that are in memory and have no name: keys for processes that want to be told a path."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryFiles:
    """Gone with the last process that holds them, even if it is killed; only their owner can open them."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def add(self, content: str | bytes) -> str:
        """The path of a new one, in this process and in those that inherit the descriptors."""
        descriptor = os.memfd_create("cpkit", os.MFD_CLOEXEC)
        self.descriptors.append(descriptor)
        os.fchmod(descriptor, 0o600)
        data = memoryview(content.encode() if isinstance(content, str) else content)
        while data:
            data = data[os.write(descriptor, data) :]
        return f"/proc/self/fd/{descriptor}"

    def close(self) -> None:
        """Let go of them."""
        while self.descriptors:
            os.close(self.descriptors.pop())


@contextmanager
def memory_files() -> Iterator[MemoryFiles]:
    """A place for such files; they are let go of afterwards."""
    files = MemoryFiles()
    try:
        yield files
    finally:
        files.close()
