"""A throw-away etcd: one member on loopback, restored from a snapshot, its revisions as they were."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cpkit.backup.errors import BackupError
from cpkit.backup.sandbox.ground import Ground
from cpkit.backup.sandbox.process import TAKEN, TRIES, Ended, free_port, last_words, running
from cpkit.backup.sandbox.scratch import Scratch
from cpkit.etcd import EtcdError, MemberClient

NAME = "sandbox"
CALL = 60.0  # seconds for one call that counts or hashes a large database
SERVES = 60.0
RESTORES = 600.0
QUOTA = 8 << 30
PEER = "https://127.0.0.1:2380"  # what the only member is called; it has no peer that would call it
ALONE = {
    "name": NAME,
    "initial-cluster": f"{NAME}={PEER}",
    "initial-cluster-token": NAME,
    "initial-advertise-peer-urls": PEER,
}


@dataclass(frozen=True)
class Member:
    """The running etcd, and how it is reached."""

    client: MemberClient
    port: int


@contextmanager
def laying(scratch: Scratch) -> Iterator[tuple[Path, Callable[[bytes], None]]]:
    """Where a snapshot lies in memory, and what takes its pieces."""
    path = scratch.path / "snapshot.db"
    with path.open("wb", buffering=0) as file:

        def lay(piece: bytes) -> None:
            view = memoryview(piece)
            try:
                while view:
                    view = view[file.write(view) :]
            except OSError as error:
                raise BackupError(f"{scratch.path} cannot take the snapshot: {error.strerror}") from error

        yield path, lay


@contextmanager
def member(ground: Ground, snapshot: Path) -> Iterator[Member]:
    """An etcd that serves what a snapshot holds; the file of the snapshot is gone when it does."""
    size = snapshot.stat().st_size
    _restore(ground, snapshot)
    snapshot.unlink()
    for left in reversed(range(TRIES)):
        port = free_port()
        argv = [ground.program("etcd", "etcd"), *_words(_flags(ground, port, size))]
        try:
            with (
                running("etcd", argv, log=ground.log("etcd"), inherit=ground.inherit) as child,
                ground.credentials.ask_etcd(port, timeout=CALL, name="the restored etcd") as client,
            ):
                child.await_that(partial(serves, client), within=SERVES, what="serve")
                yield Member(client, port)
                return
        except Ended as error:
            if TAKEN not in error.message or not left:
                raise


def _restore(ground: Ground, snapshot: Path) -> None:
    flags = {"data-dir": _data(ground), **ALONE}
    argv = [ground.program("etcd", "etcdutl"), "snapshot", "restore", str(snapshot), *_words(flags)]
    with running("etcdutl", argv, log=ground.log("etcdutl"), inherit=ground.inherit) as child:
        try:
            code = child.process.wait(RESTORES)
        except subprocess.TimeoutExpired:
            raise BackupError(f"etcdutl did not restore the snapshot within {RESTORES:.0f} s") from None
    if code:
        raise BackupError(f"etcdutl does not restore the snapshot: {last_words(child.log)}")


def _flags(ground: Ground, port: int, size: int) -> dict[str, str]:
    held, files = ground.credentials, ground.files
    trusted, url = files.add(held.authority), f"https://127.0.0.1:{port}"
    certificate, key = files.add(held.server.certificate), files.add(held.server.key)
    return {
        **ALONE,
        "data-dir": _data(ground),
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": f"https://127.0.0.1:{free_port()}",
        "client-cert-auth": "true",
        "trusted-ca-file": trusted,
        "cert-file": certificate,
        "key-file": key,
        "peer-client-cert-auth": "true",
        "peer-trusted-ca-file": trusted,
        "peer-cert-file": certificate,
        "peer-key-file": key,
        "quota-backend-bytes": str(max(QUOTA, 2 * size)),
        "unsafe-no-fsync": "true",  # it is in memory
        "heartbeat-interval": "20",
        "election-timeout": "200",  # it votes alone
        "log-level": "warn",
    }


def _words(flags: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def _data(ground: Ground) -> str:
    return str(ground.scratch.path / "etcd")


def serves(client: MemberClient) -> bool:
    """Whether it answers what needs a leader."""
    try:
        client.probe(timeout=1.0)
    except EtcdError:
        return False
    return True
