"""The table of supported versions, read from versions.yml."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

from cpkit.errors import UsageError

KUBERNETES_BINARIES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubeadm")
ETCD_BINARIES = ("etcd", "etcdctl", "etcdutl")


@dataclass(frozen=True, order=True)
class Version:
    """A released version; orders as numbers, prints as `1.36.3`."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Read `1.36.3` or `v1.36.3`; UsageError for anything else."""
        parts = text.removeprefix("v").split(".")
        if len(parts) != 3 or not all(part.isdigit() for part in parts):
            raise UsageError(f"{text!r} is not a version", hint="Write it as major.minor.patch, for example 1.36.3.")
        return cls(*map(int, parts))

    @property
    def series(self) -> str:
        """The minor it belongs to, as `1.36`."""
        return f"{self.major}.{self.minor}"

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True)
class Minor:
    """A supported Kubernetes minor and the etcd that goes with it."""

    kubernetes: Version
    floor: Version
    etcd: Version
    etcd_floor: Version


@dataclass(frozen=True)
class VersionTable:
    """The minors cpkit supports, oldest first."""

    minors: dict[str, Minor]
    default: str

    def minor(self, version: Version) -> Minor:
        """The table's row for a Kubernetes version; UsageError when the minor or patch is not supported."""
        known = ", ".join(self.minors)
        row = self.minors.get(version.series)
        if row is None:
            raise UsageError(f"Kubernetes {version.series} is not supported", hint=f"Supported minors: {known}.")
        if version < row.floor:
            raise UsageError(f"Kubernetes {version} is older than the oldest supported patch {row.floor}")
        return row

    def meant(self, text: str = "") -> Version:
        """The version a text means: a minor alone stands for its patch in the table, nothing for the default minor.

        UsageError when it is no version, or not supported.
        """
        series = text.removeprefix("v") or self.default
        if series in self.minors:
            return self.minors[series].kubernetes
        version = Version.parse(f"{series}.0" if series.count(".") == 1 else series)
        self.minor(version)
        return version


@cache
def version_table() -> VersionTable:
    """The supported versions as shipped with cpkit."""
    raw = YAML(typ="safe").load(Path(__file__).with_name("versions.yml"))
    minors = {
        series: Minor(**{key: Version.parse(str(value)) for key, value in row.items()})
        for series, row in raw["minors"].items()
    }
    return VersionTable(minors=minors, default=raw["default"])
