"""What is fetched: products, the binaries they consist of, and where each verified one lies."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cpkit.errors import UsageError
from cpkit.versions import ETCD_BINARIES, KUBERNETES_BINARIES, Version

ARCHITECTURES = ("amd64", "arm64")


@dataclass(frozen=True, eq=False)
class Product:
    """Something released as a whole: its components, each installed and switched on its own."""

    name: str
    title: str
    components: Mapping[str, tuple[str, ...]]

    @property
    def binaries(self) -> tuple[str, ...]:
        """The names of all its binaries."""
        return tuple(name for names in self.components.values() for name in names)

    def component_of(self, binary: str) -> str:
        """The component a binary belongs to."""
        return next(component for component, names in self.components.items() if binary in names)

    def release_dir(self, version: Version, arch: str) -> str:
        """Where a mirror or a bundle keeps the binaries of one version."""
        if self is ETCD:
            return f"etcd/v{version}/linux/{arch}"
        return f"release/v{version}/bin/linux/{arch}"


KUBERNETES = Product("kubernetes", "Kubernetes", {name: (name,) for name in KUBERNETES_BINARIES})
ETCD = Product("etcd", "etcd", {"etcd": ETCD_BINARIES})
PRODUCTS = {product.name: product for product in (KUBERNETES, ETCD)}


@dataclass(frozen=True)
class Target:
    """One product in one version for one architecture: what is fetched, locked and recorded as a unit."""

    product: Product
    version: Version
    arch: str

    @property
    def key(self) -> str:
        """A name for files, as `kubernetes-v1.36.3-linux-amd64`."""
        return f"{self.product.name}-v{self.version}-linux-{self.arch}"

    @property
    def release_dir(self) -> str:
        """Where a mirror or a bundle keeps it."""
        return self.product.release_dir(self.version, self.arch)

    def __str__(self) -> str:
        return f"{self.product.title} {self.version} (linux/{self.arch})"


@dataclass(frozen=True)
class Binary:
    """One verified binary in the cache."""

    name: str
    component: str
    version: Version
    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class Bundle:
    """Every binary a control plane of one Kubernetes and one etcd version needs, by component."""

    kubernetes: Version
    etcd: Version
    arch: str
    components: Mapping[str, tuple[Binary, ...]]

    @property
    def binaries(self) -> tuple[Binary, ...]:
        """All binaries, in the order of the components."""
        return tuple(binary for binaries in self.components.values() for binary in binaries)


def host_arch() -> str:
    """This machine's architecture in Go's words; UsageError where cpkit has no binaries for it."""
    machine = platform.machine().lower()
    return known_arch({"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine))


def known_arch(arch: str) -> str:
    """The architecture itself; UsageError when it is not one cpkit knows."""
    if arch not in ARCHITECTURES:
        raise UsageError(f"no binaries for architecture {arch!r}", hint=f"Known: {', '.join(ARCHITECTURES)}.")
    return arch
