"""Backups of a real etcd member without a cluster around it, for tests."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from cpkit import __version__
from cpkit.backup import Sealing, Sidecar, Store
from cpkit.backup.archive import Incoming, write
from cpkit.backup.database import Database
from cpkit.backup.manifest import Hash, Manifest, Part, Source, Verification
from cpkit.backup.manifest_json import to_json
from cpkit.backup.naming import Name
from cpkit.backup.resources import count
from cpkit.backup.taking import enter, prove_stored, store
from cpkit.etcd import MemberClient

CREATED = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
PARTS = {"pki/ca.crt": b"a certificate\n" * 50, "pki/ca.key": b"a key\n", "inventory/hosts.yml": b"all:\n" * 1000}


def take(
    client: MemberClient,
    target: Store,
    key: Sealing,
    *,
    cluster: str = "prod",
    age: timedelta = timedelta(),
    parts: Mapping[str, bytes] = PARTS,
    change: Callable[[Manifest], Manifest] = lambda manifest: manifest,
) -> Sidecar:
    """Take a backup as the operation does, from one member; with another manifest, if told."""
    made: list[Manifest] = []
    created = CREATED - age

    def describe(told: tuple[Part, ...], database: Database) -> bytes:
        status, hashed = client.status(), client.hash_kv(database.revision)
        manifest = change(
            Manifest(
                cluster=cluster,
                cluster_id=f"{status.cluster_id:x}",
                created=created,
                cpkit=__version__,
                kubernetes="1.36.3",
                etcd=status.version,
                storage_version=database.storage_version,
                revision=database.revision,
                compacted=database.compacted,
                key_revisions=database.key_revisions,
                consistent_index=database.consistent_index,
                term=database.term,
                source=Source("cp1", f"{status.member_id:x}", leader=True, quorum=True, reason="the only one"),
                hashes=(Hash("cp1", hashed.hash, hashed.revision, hashed.compact_revision),),
                resources=count(client, database.revision),
                parts=told,
            )
        )
        made.append(manifest)
        return to_json(manifest)

    snapshot = client.snapshot(timeout=60)
    pieces = write(parts, Incoming(snapshot.size, snapshot.unproven()), created, describe)

    def name() -> Name:
        return Name(cluster, created, made[0].revision)

    stored = store(target, pieces, key, name=name, expected=snapshot.size, advance=lambda _: None)
    prove_stored(target, stored, lambda _: None)
    return enter(target, stored, made[0], key, (Verification(created, "stored", "a test"),))
