"""Backup: one snapshot from the best member, with all that a restore needs, proven on its way into the store."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from cpkit import __version__, etcd
from cpkit.backup import archive, catalogue, resources
from cpkit.backup.database import Database
from cpkit.backup.keys import Sealing
from cpkit.backup.majority import refuse_minority
from cpkit.backup.manifest import Manifest, Part, Sidecar, Source, Verification
from cpkit.backup.manifest_json import to_json
from cpkit.backup.naming import Name
from cpkit.backup.parts import ON_A_NODE, Parts, assemble, refuse_unsound
from cpkit.backup.source import Choice, choose
from cpkit.backup.stores import Store, open_store
from cpkit.backup.taking import Stored, enter, prove_stored, store
from cpkit.errors import Interrupted
from cpkit.facts import member
from cpkit.facts.collect import collect
from cpkit.facts.files import read_files
from cpkit.facts.snapshot import Snapshot
from cpkit.inventory import Cluster, Node
from cpkit.journal import Run, open_run, owner
from cpkit.memory import keep_freed
from cpkit.operations.hashes import CALL, Hashes
from cpkit.operations.listener import Listener, stepping
from cpkit.operations.meter import Meter
from cpkit.ssh import Connection, connect

PATIENCE = 10.0  # seconds for a look; a machine with much to do is no reason to have no backup
LONGEST = 6 * 3600.0  # seconds for a snapshot; one that stands still is given up much sooner


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    location: str
    sealing: Sealing = field(repr=False)
    node: str = ""
    keys_in_clear: bool = False


@dataclass(frozen=True)
class Result:
    """A backup that was taken."""

    sidecar: Sidecar
    manifest: Manifest
    choice: Choice
    seconds: float
    rate: float  # bytes a second, from the member into the store
    directory: Path


@dataclass
class _Taking:
    """What is known of a backup while it is taken."""

    cluster: Cluster
    snapshot: Snapshot
    choice: Choice
    client: etcd.MemberClient
    socket: Path  # that leads to the same member, for what is large
    parts: Parts
    created: datetime
    listener: Listener
    manifest: Manifest | None = None


def backup(cluster: Cluster, options: Options, listener: Listener) -> Result:
    """Take a backup; whatever goes wrong, nothing is listed that is not whole."""
    with open_run(cluster.name, "backup") as run, _interruptible():
        step = stepping(run, listener)
        with step("Look at the cluster"):
            snapshot = collect(cluster, deadline=PATIENCE)
            choice = choose(snapshot, only=options.node)
            listener.say(f"from {choice.node}: {choice.reason}")
        node = next(node for node in cluster.control_plane if node.name == choice.node)
        with open_store(options.location) as target, _member(node) as (connection, client, socket):
            with step("Read the keys and the configuration"):
                held = read_files(connection, ON_A_NODE, timeout=CALL)
                refuse_unsound(held, snapshot, node.name)
                in_clear = options.sealing is None and not options.keys_in_clear
                parts = assemble(held, cluster.inventory, snapshot, in_clear=in_clear)
                for text in parts.without:
                    listener.say(f"left out {text}")
            taking = _Taking(cluster, snapshot, choice, client, socket, parts, catalogue.now(), listener)
            with step(f"Stream the snapshot into {target}"):
                stored, rate = _stream(taking, target, options.sealing)
            with step("Read it back from the store"):
                meter = Meter(listener, stored.size)
                prove_stored(target, stored, meter.advance)
            with step("Enter it into the catalogue"):
                assert taking.manifest is not None  # noqa: S101 - the archive ends with it
                proof = Verification(catalogue.now(), "stored", owner())
                sidecar = enter(target, stored, taking.manifest, options.sealing, (proof,))
        seconds = time.time() - run.started
        _report(run, sidecar, taking.manifest, rate)
        return Result(sidecar, taking.manifest, choice, seconds, rate, run.directory)


def _stream(taking: _Taking, target: Store, key: Sealing) -> tuple[Stored, float]:
    keep_freed()
    began = time.monotonic()
    snapshot = taking.client.snapshot(timeout=LONGEST, through=taking.socket)
    meter = Meter(taking.listener, snapshot.size)

    def describe(parts: tuple[Part, ...], database: Database) -> bytes:
        taking.listener.status("asking the members for their hashes and counts")
        taking.manifest = _manifest(taking, parts, database)
        return to_json(taking.manifest)

    def name() -> Name:
        revision = taking.manifest.revision if taking.manifest else 0
        return Name(taking.cluster.name, taking.created, revision)

    pieces = archive.write(
        taking.parts.contents, archive.Incoming(snapshot.size, snapshot.unproven()), taking.created, describe
    )
    stored = store(target, pieces, key, name=name, expected=snapshot.size, advance=meter.advance)
    return stored, stored.size / (time.monotonic() - began)


def _manifest(taking: _Taking, parts: tuple[Part, ...], database: Database) -> Manifest:
    """What the backup holds: as far as can be from the database, the rest from the members at its revision."""
    facts, choice = taking.snapshot, taking.choice
    host = facts.nodes[choice.node].host
    running = host.components.get("kube-apiserver") if host else None
    with ThreadPoolExecutor(1) as beside:
        counting = beside.submit(_counts, taking.client, database.revision)
        hashes = Hashes(taking.cluster, choice, taking.client, taking.listener).at(database.revision)
    refuse_minority(choice.node, hashes)
    counts, problem = counting.result()
    return Manifest(
        cluster=taking.cluster.name,
        cluster_id=f"{taking.client.status().cluster_id:x}",
        created=taking.created,
        cpkit=__version__,
        kubernetes=(running.running if running else "") or facts.plan.kubernetes,
        etcd=choice.status.version,
        storage_version=database.storage_version,
        revision=database.revision,
        compacted=database.compacted,
        key_revisions=database.key_revisions,
        consistent_index=database.consistent_index,
        term=database.term,
        source=Source(choice.node, choice.status.id, choice.leader, choice.quorum, choice.reason),
        hashes=hashes,
        resources=counts,
        parts=parts,
        without=(*taking.parts.without, *problem),
        nodes={node.name: node.address for node in taking.cluster.control_plane},
        endpoint=str(taking.cluster.endpoint),
    )


def _counts(client: etcd.MemberClient, revision: int) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    try:
        return resources.count(client, revision), ()
    except etcd.EtcdError as error:
        return None, (f"counts of resources: {error.message}",)


@contextmanager
def _member(node: Node) -> Iterator[tuple[Connection, etcd.MemberClient, Path]]:
    with connect(node) as connection:
        held = member.credentials(connection, timeout=CALL)
        with (
            member.client(connection, held, timeout=CALL) as client,
            member.short_cut(connection) as socket,
        ):
            yield connection, client, socket


def _report(run: Run, sidecar: Sidecar, manifest: Manifest, rate: float) -> None:
    run.report(
        backup=asdict(sidecar),
        source=asdict(manifest.source),
        resources=manifest.resources,
        hashes=[asdict(each) for each in manifest.hashes],
        without=manifest.without,
        bytes_per_second=round(rate),
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted", hint="The cluster was only read, and nothing is listed.") from None
