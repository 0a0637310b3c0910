"""A throw-away etcd on this machine, in memory alone: for its owner only, and gone with the process that made it."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cpkit import etcd
from cpkit.backup.errors import BackupError
from cpkit.backup.sandbox.credentials import make
from cpkit.backup.sandbox.files import memory_files
from cpkit.backup.sandbox.member import serves
from cpkit.backup.sandbox.process import free_port, last_words, running
from cpkit.backup.sandbox.scratch import Scratch, scratch, sweep

MEMORY = Path("/dev/shm")  # noqa: S108 - in memory, and below it a folder of our own
SPARE = 192 << 20  # bytes that etcd's own log takes
START = 30.0  # seconds until it must serve
CALL = 60.0
LARGEST = str(8 << 30)  # bytes; what the real etcd took, this one has to take
FLAGS = {
    "name": "scratch",
    "unsafe-no-fsync": "true",
    "log-level": "error",
    "quota-backend-bytes": LARGEST,
    "max-txn-ops": str(1 << 20),
    "max-request-bytes": str(1 << 30),
    "snapshot-count": "1000000",
    "client-cert-auth": "true",
}


@contextmanager
def scratch_etcd(snapshot: Iterable[bytes], size: int, binaries: Path) -> Iterator[etcd.MemberClient]:
    """A client of an etcd with the content of a snapshot, at its revision, for as long as the context lasts."""
    with _folder(3 * size + SPARE) as folder:
        path = folder.path / "snapshot.db"
        with path.open("wb") as file:
            for data in snapshot:
                file.write(data)
        peer = f"http://127.0.0.1:{free_port()}"
        _restore(binaries / "etcdutl", folder, path, peer)
        path.unlink()
        with _running(binaries / "etcd", folder, peer) as client:
            yield client


@contextmanager
def _folder(needed: int) -> Iterator[Scratch]:
    """A folder in memory; those of runs that were killed are taken away first."""
    sweep(MEMORY)
    free = shutil.disk_usage(MEMORY).free if MEMORY.is_dir() else 0
    if free < needed:
        raise BackupError(
            f"{MEMORY} has {free / 1e6:.0f} MB left, and a replay needs {needed / 1e6:.0f} MB of memory",
            hint="Nothing of a cluster is written to this machine's disk in the clear. Use a machine with more memory.",
        )
    with scratch(MEMORY) as folder:
        yield folder


def _restore(etcdutl: Path, folder: Scratch, snapshot: Path, peer: str) -> None:
    # The trailer was proven when the snapshot was read; here it is compared once more.
    own = ["--name=scratch", f"--initial-cluster=scratch={peer}", f"--initial-advertise-peer-urls={peer}"]
    argv = [str(etcdutl), "snapshot", "restore", str(snapshot), "--data-dir", str(folder.path / "data"), *own]
    with running("etcdutl", argv, log=folder.path / "etcdutl.log", inherit=(folder.lock,)) as child:
        if child.process.wait():
            raise BackupError(f"etcd cannot read the snapshot: {last_words(child.log)}")


@contextmanager
def _running(binary: Path, folder: Scratch, peer: str) -> Iterator[etcd.MemberClient]:
    held, port = make(), free_port()
    url = f"https://127.0.0.1:{port}"
    with memory_files() as files:
        flags = FLAGS | {"data-dir": "data", "listen-client-urls": url, "advertise-client-urls": url}
        flags |= {"listen-peer-urls": peer, "initial-advertise-peer-urls": peer, "initial-cluster": f"scratch={peer}"}
        flags |= {
            "trusted-ca-file": files.add(held.authority),
            "cert-file": files.add(held.server.certificate),
            "key-file": files.add(held.server.key),
        }
        argv = [str(binary), *(f"--{flag}={value}" for flag, value in flags.items())]
        inherit = (folder.lock, *files.descriptors)
        with (
            running("the throw-away etcd", argv, log=folder.path / "log", inherit=inherit) as child,
            held.ask_etcd(port, timeout=CALL, name="the throw-away etcd") as client,
        ):
            child.await_that(partial(serves, client), within=START, what="serve")
            yield client
