"""A moment after a backup, by its stream: replayed and proven in memory here, before any node is touched."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from cpkit.artifacts import ETCD, Target, fetch, host_arch
from cpkit.backup import SNAPSHOT, Bundle, Manifest, Opening, Sidecar, Store, catalogue, chain
from cpkit.backup.moment import Found, Wish, choose, range_of, reaches, resolve
from cpkit.backup.replay import Replayed, replayed
from cpkit.errors import Refused
from cpkit.inventory import Cluster
from cpkit.operations.listener import Listener
from cpkit.operations.restore_run import Options
from cpkit.operations.restore_under_way import UnderWay, named


def wanted(store: Store, options: Options, found: UnderWay | None) -> tuple[Sidecar, Wish]:
    """The backup to restore, and the moment after it; one that is under way is gone on with."""
    given = options.backup
    if options.named:
        return given, options.wish
    if found:
        name, revision = named(found.backup)
        base = given if name == given.name else catalogue.find(store, name)
        return base, options.wish or (Wish(revision) if revision else Wish())
    if options.wish:
        known = catalogue.read(store, given.cluster)
        return choose(known.backups, dict(known.streams), options.wish), options.wish
    return given, options.wish


@contextmanager
def brought_to(
    store: Store, bundle: Bundle, cluster: Cluster, wish: Wish, key: Opening, listener: Listener
) -> Iterator[tuple[Bundle, int]]:
    """The bundle as it would be if it had been taken at that moment, and the descriptor of its snapshot."""
    base = bundle.sidecar
    known = chain.find(store, base) or chain.Chain(base, (), None)
    if not reaches(base, known, wish):
        raise Refused(f"{base.name} and its stream do not reach {wish}", hint=f"They reach {range_of(known)}.")
    listener.status("reading the stream")
    found = resolve(base, chain.segments(store, known, key), wish)
    if found.doubt:
        listener.say(f"at {wish} {found.doubt}")
    binaries = fetch(Target(ETCD, cluster.spec.etcd, host_arch()), progress=listener.progress).directory

    def progress(revision: int) -> None:
        if revision % 200 == 0:
            listener.status(f"revision {revision} of {found.revision}")

    with replayed(
        bundle.stream(),
        bundle.manifest.part(SNAPSHOT).size,
        binaries,
        hashes=bundle.manifest.hashes,
        segments=chain.segments(store, known, key),
        revision=found.revision,
        progress=progress,
    ) as made:
        listener.say(_proof(found, made))
        yield replace(bundle, manifest=_manifest(bundle.manifest, found, made)), made.descriptor


def _proof(found: Found, made: Replayed) -> str:
    revisions = sorted({each.revision for each in made.compared})
    before = [each for each in revisions if each <= found.revision]
    after = [each for each in revisions if each > found.revision]
    compared = [str(each) for each in (*before[-1:], *after[:1])]
    received = f", received {found.at:%Y-%m-%d %H:%M:%S} UTC" if found.at else ""
    return f"revision {found.revision}{received}; hashed as the members did at {' and '.join(compared)}"


def _manifest(manifest: Manifest, found: Found, made: Replayed) -> Manifest:
    database = made.database
    return replace(
        manifest,
        created=found.at or manifest.created,
        revision=database.revision,
        compacted=database.compacted,
        key_revisions=database.key_revisions,
        consistent_index=database.consistent_index,
        term=database.term,
        storage_version=database.storage_version or manifest.storage_version,
        hashes=made.compared,
        resources=made.resources,
        parts=tuple(made.part if part.name == SNAPSHOT else part for part in manifest.parts),
    )
