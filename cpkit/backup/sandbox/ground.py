"""What a sandbox stands on, and whether this machine has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cpkit.artifacts import Bundle as Binaries
from cpkit.artifacts import cached
from cpkit.backup.manifest import Sidecar
from cpkit.backup.sandbox import scratch
from cpkit.backup.sandbox.credentials import Credentials, make
from cpkit.backup.sandbox.files import MemoryFiles, memory_files
from cpkit.errors import Refused
from cpkit.versions import Version


@dataclass(frozen=True)
class Prepared:
    """Verified binaries, and a place in memory with room enough."""

    binaries: Binaries
    place: Path


@dataclass(frozen=True)
class Ground:
    """A private directory, files without a name, and keys that open nothing else."""

    scratch: scratch.Scratch
    files: MemoryFiles
    credentials: Credentials
    binaries: Binaries

    def program(self, component: str, name: str) -> str:
        """The path of a verified binary."""
        return next(str(each.path) for each in self.binaries.components[component] if each.name == name)

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.scratch.path / f"{name}.log"

    @property
    def inherit(self) -> tuple[int, ...]:
        """The descriptors that a program needs."""
        return (self.scratch.lock, *self.files.descriptors)


def prepare(sidecar: Sidecar, place: Path | None) -> Prepared:
    """What serves this backup; Refused, with what is missing, before anything is read or started."""
    kubernetes, etcd = Version.parse(sidecar.kubernetes), Version.parse(sidecar.etcd)
    binaries = cached(kubernetes, etcd)
    if binaries is None:
        raise Refused(
            f"the cache lacks what {sidecar.name} was taken of: Kubernetes {kubernetes} and etcd {etcd}",
            hint=f"Fetch it first: cpkit artifacts fetch --version {kubernetes} --etcd-version {etcd}",
        )
    needed = scratch.room(sidecar.size)  # the snapshot is nearly all of a backup
    found = scratch.choose(scratch.places(place), needed, scratch.available(), named=place is not None)
    return Prepared(binaries, found)


@contextmanager
def ground(prepared: Prepared) -> Iterator[Ground]:
    """The ground of one sandbox; nothing is left of it afterwards."""
    with scratch.scratch(prepared.place) as directory, memory_files() as files:
        yield Ground(directory, files, make(), prepared.binaries)
