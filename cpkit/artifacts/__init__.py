"""Kubernetes and etcd binaries: one chain of sources that always ends in a verified cache."""

from cpkit.artifacts.cache import Cache
from cpkit.artifacts.entry import Entry
from cpkit.artifacts.model import (
    ARCHITECTURES,
    ETCD,
    KUBERNETES,
    Binary,
    Bundle,
    Product,
    Target,
    host_arch,
    known_arch,
)
from cpkit.artifacts.progress import Progress, Silent
from cpkit.versions import Version

__all__ = [
    "ARCHITECTURES",
    "ETCD",
    "KUBERNETES",
    "Binary",
    "Bundle",
    "Cache",
    "Entry",
    "Product",
    "Progress",
    "Silent",
    "Target",
    "cached",
    "ensure",
    "fetch",
    "host_arch",
    "known_arch",
]


def ensure(
    kubernetes: Version, etcd: Version, *, source: str = "auto", progress: Progress | None = None, arch: str = ""
) -> Bundle:
    """Every binary of the two versions, verified and in the cache; fetched or built if need be."""
    arch = arch or host_arch()
    entries = [
        fetch(Target(product, version, arch), source=source, progress=progress)
        for product, version in ((KUBERNETES, kubernetes), (ETCD, etcd))
    ]
    return _bundle(kubernetes, etcd, arch, entries)


def cached(kubernetes: Version, etcd: Version, *, arch: str = "") -> Bundle | None:
    """The same bundle if the cache has all of it; reads records, and hashes only what changed since."""
    arch, cache = arch or host_arch(), Cache.default()
    entries = [cache.lookup(Target(KUBERNETES, kubernetes, arch)), cache.lookup(Target(ETCD, etcd, arch))]
    found = [entry for entry in entries if entry is not None]
    return _bundle(kubernetes, etcd, arch, found) if len(found) == len(entries) else None


def fetch(target: Target, *, source: str = "auto", progress: Progress | None = None) -> Entry:
    """One product, verified and in the cache."""
    from cpkit.artifacts.chain import fetch as run_chain
    from cpkit.artifacts.chain import sources

    cache = Cache.default()
    return cache.lookup(target) or run_chain(target, sources(source, cache), cache, progress or Silent())


def _bundle(kubernetes: Version, etcd: Version, arch: str, entries: list[Entry]) -> Bundle:
    binaries = [binary for entry in entries for binary in entry.binaries]
    names = dict.fromkeys(binary.component for binary in binaries)
    components = {name: tuple(binary for binary in binaries if binary.component == name) for name in names}
    return Bundle(kubernetes, etcd, arch, components)
