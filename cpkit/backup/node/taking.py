"""One backup of the node's own member, under the lock: sealed into the store, proven, and published once."""

import json
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cpkit.backup import archive, resources
from cpkit.backup.database import Database
from cpkit.backup.keys import Recipients
from cpkit.backup.majority import refuse_minority
from cpkit.backup.manifest import Hash, Manifest, Part, Source, Verification
from cpkit.backup.manifest_json import to_json
from cpkit.backup.naming import SIDECAR, Name
from cpkit.backup.node import record as records
from cpkit.backup.node.record import RECORD, Record
from cpkit.backup.node.sealing import seal
from cpkit.backup.node.settings import Settings
from cpkit.backup.node.stores import PENDING, Renaming
from cpkit.backup.taking import Stored, describe, prove_stored, store
from cpkit.errors import CpkitError, Refused, Unreachable
from cpkit.node.gateway import Gateway
from cpkit.node.lock import Lock

CAUGHT_UP = 100  # log entries a member may be behind while others write
CALL = 30.0  # seconds for one call that counts or hashes a large database


@dataclass
class Taking:
    """What is known of a backup while it is taken."""

    settings: Settings
    etcd: Gateway
    context: ssl.SSLContext
    lock: Lock
    slot: float
    created: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    manifest: Manifest | None = None


def take(taking: Taking, target: Renaming, identity: str) -> Record:
    """Take a backup; whatever goes wrong, nothing is listed that is not whole, and nothing twice for one slot."""
    began = time.monotonic()
    stored = _store(taking, target)
    manifest = taking.manifest
    assert manifest is not None  # noqa: S101 - the archive ends with it
    name = f"{PENDING}{taking.lock.token}"
    try:
        prove_stored(target, stored, _advance(taking.lock))
        proof = Verification(datetime.now(UTC).replace(microsecond=0), "stored", f"cpkit-backup@{taking.settings.node}")
        sidecar = describe(stored, manifest, Recipients(taking.settings.recipients), (proof,))
        # Whoever holds the lock next takes the waiting sidecar away before it looks what is published, and the
        # transaction fails for whoever has lost the lock: so one of the two is seen, never a second backup.
        target.write(name, to_json(sidecar))
        seconds = time.monotonic() - began
        found = Record(
            slot=taking.slot,
            name=stored.name,
            node=taking.settings.node,
            at=time.time(),
            seconds=seconds,
            size=stored.size,
            revision=manifest.revision,
            store=taking.settings.store,
            store_id=identity,
        )
        taking.lock.put(RECORD, records.to_json(found))
    except BaseException:
        _discard(target, name, stored.object)
        raise
    _publish(target, name, stored)
    return found


def _publish(target: Renaming, name: str, stored: Stored) -> None:
    """Give the waiting sidecar its name, from when on the backup is listed."""
    try:
        target.rename(name, stored.name + SIDECAR)
    except CpkitError:
        if target.stat(stored.name + SIDECAR) is None:
            _discard(target, name, stored.object)
        raise


def _discard(target: Renaming, *names: str) -> None:
    for name in names:
        with suppress(CpkitError):
            target.delete(name)


def _store(taking: Taking, target: Renaming) -> Stored:
    size, chunks = taking.etcd.snapshot()

    def make(parts: tuple[Part, ...], database: Database) -> bytes:
        taking.manifest = _manifest(taking, parts, database)
        return to_json(taking.manifest)

    def name() -> Name:
        revision = taking.manifest.revision if taking.manifest else 0
        return Name(taking.settings.cluster, taking.created, revision)

    pieces = archive.write(_parts(taking.settings), archive.Incoming(size, chunks), taking.created, make)
    key = Recipients(taking.settings.recipients)
    return store(target, pieces, key, name=name, expected=size, advance=_advance(taking.lock), seal=seal)


def _advance(lock: Lock) -> Callable[[int], None]:
    def advance(_: int) -> None:
        lock.refuse_lost()

    return advance


def _parts(settings: Settings) -> dict[str, bytes]:
    """The small parts: the node's files as they are now, the versions, and the inventory as the schedule was set."""
    found = {part: Path(path).read_bytes() for path, part in settings.files.items() if Path(path).exists()}
    running = {name: Path(link).resolve().name for name, link in settings.components.items()}
    versions = {"inventory": dict(settings.versions), "nodes": {settings.node: running}}
    found["versions.json"] = (json.dumps(versions, indent=2) + "\n").encode()
    inventory = json.loads(Path(settings.inventory).read_text(encoding="utf-8"))
    return found | {part: text.encode() for part, text in inventory.items()}


def _manifest(taking: Taking, parts: tuple[Part, ...], database: Database) -> Manifest:
    settings = taking.settings
    slow = Gateway(settings.members[settings.node], taking.context, node=settings.node, timeout=CALL)
    told = slow.call("maintenance/status", {})
    hashes = _hashes(taking, database.revision)
    refuse_minority(settings.node, hashes)
    member = f"{int(told['header']['member_id']):x}"
    return Manifest(
        cluster=settings.cluster,
        cluster_id=f"{int(told['header']['cluster_id']):x}",
        created=taking.created,
        cpkit=settings.cpkit,
        kubernetes=_kubernetes(settings),
        etcd=told["version"],
        storage_version=database.storage_version,
        revision=database.revision,
        compacted=database.compacted,
        key_revisions=database.key_revisions,
        consistent_index=database.consistent_index,
        term=database.term,
        source=Source(settings.node, member, told["leader"] == told["header"]["member_id"], True, "its timer's turn"),
        hashes=hashes,
        resources=resources.count(slow, database.revision),
        parts=parts,
        without=settings.without,
        nodes=dict(settings.nodes),
        endpoint=settings.endpoint,
    )


def _kubernetes(settings: Settings) -> str:
    link = Path(settings.components.get("kube-apiserver", ""))
    return link.resolve().name if link.is_symlink() else settings.versions["kubernetes"]


def _hashes(taking: Taking, revision: int) -> tuple[Hash, ...]:
    """HashKV at the revision, of every member that answers."""
    found = []
    for node, address in taking.settings.members.items():
        with suppress(CpkitError, KeyError):
            member = Gateway(address, taking.context, node=node, timeout=CALL)
            told = member.call("maintenance/hashkv", {"revision": str(revision)})
            at, compacted = int(told.get("hash_revision", revision)), int(told.get("compact_revision", 0))
            found.append(Hash(node, int(told["hash"]), at, compacted))
    return tuple(found)


def refuse_unfit(settings: Settings, context: ssl.SSLContext) -> None:
    """Refused when the node's own member is no voter that is caught up: the backup is for another node to take."""
    statuses = {}
    for node, address in settings.members.items():
        with suppress(CpkitError):
            statuses[node] = Gateway(address, context, node=node).call("maintenance/status", {})
    if settings.node not in statuses:
        raise Unreachable("etcd does not answer on this node", node=settings.node)
    mine = statuses[settings.node]
    if mine.get("isLearner"):
        raise Refused("its etcd member is a learner", node=settings.node)
    behind = max(int(each.get("raftIndex", 0)) for each in statuses.values()) - int(mine.get("raftAppliedIndex", 0))
    if behind > CAUGHT_UP:
        raise Refused(f"its etcd member lags by {behind} log entries", node=settings.node)
