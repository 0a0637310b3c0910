"""Files that must survive a power cut, and their checksums."""

import hashlib
import os
import shutil
from pathlib import Path


def digest(path: Path) -> str:
    """The file's sha256, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_synced(path: Path, text: str) -> None:
    """Write text and wait until the disk has it."""
    with path.open("w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def copy_synced(source: Path, target: Path) -> None:
    """Copy content and mode, and wait until the disk has them."""
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
    sync(target)


def sync(path: Path) -> None:
    """Wait until the disk has the file's content."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def sync_directory(path: Path) -> None:
    """Wait until the disk has the directory's names."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link(source: Path, target: Path) -> None:
    """Give a file a second name; a copy where the file system has no hard links."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
