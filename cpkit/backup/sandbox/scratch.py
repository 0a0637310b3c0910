"""A private directory in memory, for as long as cpkit lives; what a killed run left of one is cleared away."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cpkit.errors import Refused, UsageError

MIB = 1 << 20
IN_MEMORY = ("tmpfs", "ramfs")
USUAL = ("/dev/shm", "/run/shm")  # noqa: S108 - what is made there is for its owner alone
PREFIX = "cpkit-sandbox-"
LOG = 2 * 64 * MIB  # etcd reserves its log file by file
PROCESSES = 512 * MIB


@dataclass(frozen=True)
class Scratch:
    """The directory, and the descriptor that locks it; whoever inherits that keeps it from being cleared away."""

    path: Path
    lock: int


@dataclass(frozen=True)
class Place:
    """A filesystem that may hold one."""

    path: Path
    kind: str
    free: int


def room(snapshot: int) -> int:
    """The bytes that a snapshot of this size takes while it is restored: itself, the database and etcd's log."""
    return 2 * snapshot + LOG


def choose(places: tuple[Place, ...], needed: int, available: int, *, named: bool) -> Path:
    """The first place in memory with room for it; Refused, with the reason, when there is none."""
    able = [place for place in places if place.kind in IN_MEMORY]
    hint = (
        "Data of the cluster is never laid on a disk in the clear. Mount a tmpfs that is large enough, and name it:\n"
    )
    hint += "  --scratch DIR"
    if not able:
        what = f"{places[0].path} is on a disk ({places[0].kind})" if named else "there is no tmpfs on this machine"
        raise Refused(what, hint=hint)
    for place in able:
        if place.free >= needed:
            if available < needed + PROCESSES:
                raise Refused(
                    f"{available // MIB} MiB of memory are available, {(needed + PROCESSES) // MIB} MiB are needed",
                    hint="Free some, or do it on another machine that reaches the store.",
                )
            return place.path
    told = ", ".join(f"{place.path} has {place.free // MIB} MiB free" for place in able)
    raise Refused(f"{told}, and {needed // MIB} MiB are needed", hint=hint)


def places(named: Path | None) -> tuple[Place, ...]:
    """What may serve: the directory that the user names, or what usually is in memory."""
    if named is not None and not (named.is_dir() and os.access(named, os.W_OK)):
        raise UsageError(f"{named} is no directory that can be written to")
    candidates = [named] if named else [Path(each) for each in (os.environ.get("XDG_RUNTIME_DIR", ""), *USUAL) if each]
    found = []
    for path in candidates:
        if path.is_dir() and os.access(path, os.W_OK):
            stat = os.statvfs(path)
            found.append(Place(path, _kind(path), stat.f_bavail * stat.f_frsize))
    # The roomiest first: a runtime directory is often a small tmpfs of its own.
    return tuple(sorted(found, key=lambda place: -place.free))


def available() -> int:
    """The bytes of memory that can be had without swapping."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def scratch(base: Path) -> Iterator[Scratch]:
    """A new directory of one's own; it is gone afterwards."""
    sweep(base)
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getuid()}-", dir=base))
        lock = _locked(path)
        if lock is not None:
            break
    try:
        yield Scratch(path, lock)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep(base: Path) -> None:
    """Take away what runs left that were killed."""
    for left_behind in base.glob(f"{PREFIX}{os.getuid()}-*"):
        _clear(left_behind)


def _clear(path: Path) -> None:
    """Take a directory away whose cpkit, and all that it had started, are dead."""
    if path.is_symlink() or path.lstat().st_uid != os.getuid():
        return
    lock = _locked(path)
    if lock is not None:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _locked(path: Path) -> int | None:
    """A locked descriptor of a directory; None when somebody holds it, or has just taken it away."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.lstat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _kind(path: Path) -> str:
    """The kind of filesystem that a directory is on."""
    real, best, kind = str(path.resolve()), "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, place, type_, *_ = line.split()
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, type_
    return kind
