"""The catalogue of backups: the store itself, by its sidecars."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cpkit.backup import chain
from cpkit.backup.chain import Chain
from cpkit.backup.errors import DamagedBackup, NoSuchBackup
from cpkit.backup.manifest import Sidecar, Verification
from cpkit.backup.manifest_json import read_sidecar, to_json
from cpkit.backup.naming import SIDECAR, parse
from cpkit.backup.retention import newest_first
from cpkit.backup.stores.model import Item, Store

LATEST = "latest"
LARGEST_SIDECAR = 1 << 20


@dataclass(frozen=True)
class Catalogue:
    """What a store holds of a cluster: backups, newest first, and what is none."""

    backups: tuple[Sidecar, ...]
    broken: tuple[str, ...] = ()  # sidecars that cannot be read, or whose object is gone, with the reason
    leftovers: tuple[Item, ...] = ()  # of uploads that never ended, or deletions that did not
    streams: Mapping[str, Chain] = field(default_factory=dict)  # by the name of the backup they go on from


def read(store: Store, cluster: str = "", parse_sidecar: Callable[[bytes, str], Sidecar] = read_sidecar) -> Catalogue:
    """Everything there is of a cluster, or of all."""
    items = {item.name: item for item in store.list()}
    backups, broken, claimed = [], [], set()
    for name in sorted(items):
        told = parse(name)
        if told is None or not name.endswith(SIDECAR) or (cluster and told.cluster != cluster):
            continue
        stem = name.removesuffix(SIDECAR)
        claimed |= {name, *(each for each in items if each.rpartition(".")[0] == stem or chain.base_of(each) == stem)}
        try:
            backups.append(_found(store, stem, items, parse_sidecar))
        except DamagedBackup as error:
            broken.append(error.message)
    leftovers = [items[name] for name in items.keys() - claimed if _may_be_ours(name, cluster)]
    rest = (*leftovers, *store.unfinished())
    streams = chain.found(store, backups, items.values())
    return Catalogue(newest_first(backups), tuple(broken), tuple(sorted(rest, key=lambda item: item.name)), streams)


def find(store: Store, name: str, cluster: str = "") -> Sidecar:
    """The sidecar of a backup by its name, or of the latest; NoSuchBackup when there is none."""
    if name == LATEST:
        backups = read(store, cluster).backups
        if not backups:
            raise NoSuchBackup(f"{store} holds no backup{f' of {cluster}' if cluster else ''}")
        return backups[0]
    stem = name.rpartition("/")[2]
    for ending in (".cpkit", ".tar", SIDECAR):
        stem = stem.removesuffix(ending)
    if parse(stem) is None:
        raise NoSuchBackup(f"{name!r} is no name of a backup", hint="They are shown by: cpkit backup list")
    if store.stat(stem + SIDECAR) is None:
        torn = any(store.stat(stem + ending) for ending in (".cpkit", ".tar"))
        why = " It has no sidecar, so its upload never ended." if torn else ""
        raise NoSuchBackup(f"{store} holds no backup {stem}.{why}", hint="What there is: cpkit backup list")
    return read_sidecar(store.read(stem + SIDECAR, LARGEST_SIDECAR), stem)


def write(store: Store, sidecar: Sidecar) -> None:
    """Put a sidecar in place, whole or not at all; from then on the backup exists."""
    store.write(sidecar.name + SIDECAR, to_json(sidecar))


def record(store: Store, sidecar: Sidecar, verification: Verification) -> Sidecar:
    """Note a proof in the sidecar as it is now."""
    current = read_sidecar(store.read(sidecar.name + SIDECAR, LARGEST_SIDECAR), sidecar.name)
    proven = current.proven(verification)
    write(store, proven)
    return proven


def remove(store: Store, sidecars: Iterable[Sidecar], gone: Callable[[Sidecar], None] = lambda _: None) -> None:
    """Delete backups and their streams, each sidecar first, so that what a cut leaves behind is listed no more."""
    items = store.list()
    for sidecar in sidecars:
        store.delete(sidecar.name + SIDECAR)
        chain.remove(store, sidecar.name, items)
        store.delete(sidecar.object)
        gone(sidecar)


def old(items: Iterable[Item], *, hours: float, now: datetime) -> tuple[Item, ...]:
    """Leftovers that no upload still under way can be the reason of."""
    return tuple(item for item in items if (now - item.modified).total_seconds() > hours * 3600)


def _found(store: Store, stem: str, items: dict[str, Item], parse_sidecar: Callable[[bytes, str], Sidecar]) -> Sidecar:
    sidecar = parse_sidecar(store.read(stem + SIDECAR, LARGEST_SIDECAR), stem)
    held = items.get(sidecar.object)
    if sidecar.object.rpartition(".")[0] != stem or held is None:
        raise DamagedBackup(f"{stem} has a sidecar, and nothing else")
    if held.size != sidecar.size:
        raise DamagedBackup(f"{sidecar.object} has {held.size} bytes of {sidecar.size}")
    return sidecar


def _may_be_ours(name: str, cluster: str) -> bool:
    told = parse(chain.base_of(name) or name)
    return told is not None and (not cluster or told.cluster == cluster)


def now() -> datetime:
    """This moment, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
