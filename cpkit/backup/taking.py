"""Into the store: a stream is sealed and stored as it comes, proven, and only then entered into the catalogue."""

import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass

from cpkit.backup import catalogue
from cpkit.backup.ahead import ahead
from cpkit.backup.errors import DamagedBackup
from cpkit.backup.keys import Passphrase, Sealing, label
from cpkit.backup.manifest import Encryption, Manifest, Sidecar, Verification
from cpkit.backup.manifest_json import to_json
from cpkit.backup.naming import ENCRYPTED, PLAIN, Name
from cpkit.backup.sealing import seal
from cpkit.backup.stores.model import Store
from cpkit.backup.streams import Advance, Counted, Pulled, chunks

Seal = Callable[[Pulled, Counted, Sealing], None]


@dataclass(frozen=True)
class Stored:
    """An object that has arrived in the store."""

    name: str
    object: str
    size: int
    sha256: str


def store(
    target: Store,
    archive: Generator[bytes, None, None],
    key: Sealing,
    *,
    name: Callable[[], Name],
    expected: int,
    advance: Advance,
    seal: Seal = seal,
) -> Stored:
    """Seal an archive into the store; its name is asked for at the end, when the revision is known."""
    with target.upload(expected) as upload, ahead(archive) as pieces:
        sealed = Counted(target=upload, advance=advance)
        seal(Pulled(pieces), sealed, key)
        sealed.settle()
        stem = str(name())
        full = stem + (PLAIN if key is None else ENCRYPTED)
        upload.commit(full)
    return Stored(stem, full, sealed.size, sealed.sha256)


def prove_stored(target: Store, stored: Stored, advance: Advance) -> None:
    """Read the object back from the store and compare its SHA-256; DamagedBackup when it is another."""
    with target.open(stored.object) as source:
        back = Counted(source=source, advance=advance)
        for _ in chunks(back):
            pass
    if (back.size, back.sha256) != (stored.size, stored.sha256):
        raise DamagedBackup(
            f"{target} does not give back what it was given: {back.size} bytes of {stored.size}",
            hint="The backup is not listed. Look at the store's disk.",
        )


def enter(
    target: Store, stored: Stored, manifest: Manifest, key: Sealing, verified: tuple[Verification, ...]
) -> Sidecar:
    """Enter a stored backup into the catalogue; from now on it is one."""
    sidecar = describe(stored, manifest, key, verified)
    catalogue.write(target, sidecar)
    return sidecar


def describe(stored: Stored, manifest: Manifest, key: Sealing, verified: tuple[Verification, ...]) -> Sidecar:
    """The sidecar of a stored backup."""
    return Sidecar(
        name=stored.name,
        object=stored.object,
        size=stored.size,
        sha256=stored.sha256,
        manifest=hashlib.sha256(to_json(manifest)).hexdigest(),
        encryption=kind(key),
        cluster=manifest.cluster,
        cluster_id=manifest.cluster_id,
        created=manifest.created,
        kubernetes=manifest.kubernetes,
        etcd=manifest.etcd,
        storage_version=manifest.storage_version,
        revision=manifest.revision,
        keys=manifest.keys,
        quorum=manifest.source.quorum,
        node=manifest.source.node,
        recipients=() if key is None or isinstance(key, Passphrase) else tuple(map(label, key.keys)),
        nodes=manifest.nodes,
        verified=verified,
    )


def kind(key: Sealing) -> Encryption:
    """How a key seals."""
    if key is None:
        return "none"
    return "passphrase" if isinstance(key, Passphrase) else "recipients"
