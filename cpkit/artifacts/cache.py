"""The verified cache: nothing enters without its checksum, nothing leaves without its record."""

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cpkit.artifacts.entry import Entry
from cpkit.artifacts.files import digest, sync, sync_directory, write_synced
from cpkit.artifacts.model import PRODUCTS, Target
from cpkit.artifacts.record import FileRecord, Origin, Record
from cpkit.errors import CpkitError
from cpkit.paths import cache_dir
from cpkit.versions import Version

RECORD = "record.json"


@dataclass(frozen=True)
class Cache:
    """Binaries by product, version and architecture under one root."""

    root: Path

    @classmethod
    def default(cls) -> "Cache":
        """The user's cache."""
        return cls(cache_dir() / "artifacts")

    def directory(self, target: Target) -> Path:
        """Where a target's binaries lie once they are verified."""
        return self.root / target.product.name / f"v{target.version}" / f"linux-{target.arch}"

    def workspace(self, target: Target) -> Path:
        """Where a fetch keeps what must outlive it: partial downloads, a build's log. Used under the lock."""
        path = self.root / "work" / target.key
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def lock(self, target: Target, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the target alone; calls `waiting` once when another process has it. Dies with its process."""
        path = self.root / "locks" / f"{target.key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def staging(self, target: Target) -> Iterator[Path]:
        """A directory to fill for `admit`; gone afterwards, whatever happens. Under the lock."""
        parent = self.root / "work"
        parent.mkdir(parents=True, exist_ok=True)
        for left_behind in parent.glob(f"{target.key}.*"):  # by a killed run: whoever is alive holds the lock
            shutil.rmtree(left_behind, ignore_errors=True)
        path = Path(tempfile.mkdtemp(prefix=f"{target.key}.", suffix=".staging", dir=parent))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def read(self, target: Target) -> Entry | None:
        """What the record says, unchecked."""
        directory = self.directory(target)
        try:
            record = Record.parse((directory / RECORD).read_text())
        except OSError:
            return None
        if record is None or {file.name for file in record.files} != set(target.product.binaries):
            return None
        return Entry(target, directory, record)

    def lookup(self, target: Target) -> Entry | None:
        """The entry if its files are what the record says; hashes only a file whose size or time changed."""
        entry = self.read(target)
        if entry is None or any(_changed(entry.directory, file) for file in entry.record.files):
            return None
        return entry

    def verify(self, target: Target) -> tuple[str, ...]:
        """Hash every file again; what differs from the record, in words."""
        if (entry := self.read(target)) is None:
            return (f"{RECORD} is missing or damaged",)
        problems = (_problem(entry.directory / file.name, file) for file in entry.record.files)
        return tuple(problem for problem in problems if problem)

    def drop(self, target: Target) -> None:
        """Take a target out of the cache."""
        with self.lock(target, lambda: None), self.staging(target) as staging:
            self.directory(target).rename(staging / "dropped")

    def targets(self) -> tuple[Target, ...]:
        """Every target that has a directory in the cache, by product, version and architecture."""
        found = []
        for name, product in PRODUCTS.items():
            for path in (self.root / name).glob("v[0-9]*.[0-9]*.[0-9]*/linux-*"):
                version = Version.parse(path.parent.name)
                found.append(Target(product, version, path.name.removeprefix("linux-")))
        return tuple(sorted(found, key=lambda target: (target.product.name, target.version, target.arch)))

    def admit(self, target: Target, staging: Path, expected: Mapping[str, str], origin: Origin) -> Entry:
        """Hash, sync and record what lies in `staging`, then make it the entry in one rename. Under the lock."""
        files = tuple(_settle(staging / name, expected.get(name)) for name in target.product.binaries)
        record = Record(files=files, origin=origin, fetched=datetime.now(UTC).replace(microsecond=0))
        write_synced(staging / RECORD, record.to_json())
        sync_directory(staging)
        directory = self.directory(target)
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging.chmod(0o755)
        self._replace(directory, staging)
        return Entry(target, directory, record)

    def _replace(self, directory: Path, staging: Path) -> None:
        # Only an entry that failed its check is ever replaced; it leaves first, so no reader sees a mixture.
        doomed = staging.with_suffix(".doomed")
        if directory.exists():
            directory.rename(doomed)
        staging.rename(directory)
        shutil.rmtree(doomed, ignore_errors=True)
        sync_directory(directory.parent)


def _settle(path: Path, expected: str | None) -> FileRecord:
    path.chmod(0o755)
    sha256 = digest(path)
    if expected not in (None, sha256):
        raise CpkitError(f"{path.name} hashes to {sha256}, not to {expected}", hint="Nothing was cached; fetch again.")
    sync(path)
    stat = path.stat()
    return FileRecord(name=path.name, sha256=sha256, size=stat.st_size, mtime_ns=stat.st_mtime_ns)


def _changed(directory: Path, file: FileRecord) -> bool:
    try:
        stat = (directory / file.name).stat()
    except FileNotFoundError:
        return True
    if (stat.st_size, stat.st_mtime_ns) == (file.size, file.mtime_ns):
        return False
    return stat.st_size != file.size or digest(directory / file.name) != file.sha256


def _problem(path: Path, file: FileRecord) -> str:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return f"{file.name} is missing"
    if size != file.size:
        return f"{file.name} has {size} bytes, {file.size} when it was fetched"
    sha256 = digest(path)
    if sha256 != file.sha256:
        return f"{file.name} hashes to {sha256[:12]}…, {file.sha256[:12]}… when it was fetched"
    return ""
