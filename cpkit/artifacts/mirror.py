"""Mirrors and the official release site: published binaries beside their published checksums."""

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cpkit.artifacts import manifest
from cpkit.artifacts.download import Downloader
from cpkit.artifacts.files import link
from cpkit.artifacts.http import NotThere, Patience, open_client, shown
from cpkit.artifacts.model import ETCD, Target
from cpkit.artifacts.progress import Progress
from cpkit.artifacts.record import Kind, Origin
from cpkit.artifacts.source import Fetched
from cpkit.artifacts.tree import DirectoryTree, HttpTree, TarTree, Tree, unpack
from cpkit.errors import CpkitError


@dataclass(frozen=True)
class HttpMirror:
    """A web server with the layout of a bundle."""

    base: str
    patience: Patience = field(default_factory=Patience)

    @property
    def name(self) -> str:
        """Its address."""
        return shown(self.base)

    def fetch(self, target: Target, staging: Path, workspace: Path, progress: Progress) -> Fetched:
        """Download the target's binaries."""
        with _downloader(self.patience, progress) as downloader:
            return lay(HttpTree(self.base.rstrip("/"), downloader), "mirror", target, staging, workspace)


@dataclass(frozen=True)
class FileMirror:
    """A directory or a tar with the layout of a bundle."""

    tree: DirectoryTree | TarTree

    @property
    def name(self) -> str:
        """Its path."""
        return self.tree.place

    def fetch(self, target: Target, staging: Path, workspace: Path, progress: Progress) -> Fetched:
        """Copy the target's binaries."""
        progress.say(f"Copying {target} from {self.name}")
        return lay(self.tree, "mirror", target, staging, workspace)


@dataclass(frozen=True)
class ReleaseSite:
    """Where the Kubernetes and etcd projects publish their releases."""

    kubernetes: str = "https://dl.k8s.io"
    etcd: str = "https://github.com/etcd-io/etcd/releases/download"
    patience: Patience = field(default_factory=Patience)

    name = "the official release site"

    def fetch(self, target: Target, staging: Path, workspace: Path, progress: Progress) -> Fetched:
        """Download the target's binaries."""
        with _downloader(self.patience, progress) as downloader:
            if target.product is ETCD:
                return self._etcd(target, staging, workspace, downloader)
            return lay(HttpTree(self.kubernetes, downloader), "release", target, staging, workspace)

    def _etcd(self, target: Target, staging: Path, workspace: Path, downloader: Downloader) -> Fetched:
        tree = HttpTree(f"{self.etcd}/v{target.version}", downloader)
        stem = f"etcd-v{target.version}-linux-{target.arch}"
        archive = f"{stem}.tar.gz"
        sha256 = listed_checksum(tree.text("SHA256SUMS"), archive)
        path = tree.file(archive, sha256, workspace, f"etcd {target.version} ({target.arch})")
        with tarfile.open(path) as tar:
            for name in target.product.binaries:
                unpack(tar, f"{stem}/{name}", staging / name, archive)
        path.unlink()
        return Fetched(Origin("release", tree.place))


def lay(tree: Tree, kind: Kind, target: Target, staging: Path, workspace: Path) -> Fetched:
    """Put the target's binaries into `staging`, each content once, whatever the number of its names."""
    folder = target.release_dir
    try:
        sums = {name: checksum(tree.text(f"{folder}/{name}.sha256"), name) for name in target.product.binaries}
    except NotThere as error:
        raise NotThere(error.message, hint=_what_it_holds(tree) or error.hint) from error
    laid: dict[str, Path] = {}
    for name, sha256 in sums.items():
        if sha256 in laid:
            link(laid[sha256], staging / name)
            continue
        label = f"{name} {target.version} ({target.arch})"
        laid[sha256] = tree.file(f"{folder}/{name}", sha256, workspace, label).rename(staging / name)
    return Fetched(Origin(kind, tree.place), sums)


def _what_it_holds(tree: Tree) -> str:
    try:
        held = manifest.contents(tree.text(manifest.MANIFEST))
    except CpkitError:
        return ""
    return f"This bundle holds {', '.join(held)}." if held else ""


def checksum(text: str, name: str) -> str:
    """The sha256 in the text of a `.sha256` file, bare or as sha256sum writes it."""
    match = re.match(r"\s*([0-9a-fA-F]{64})(\s|$)", text)
    if match is None:
        raise CpkitError(
            f"{name}.sha256 holds no sha256 but {text[:40]!r}",
            hint="A login page or a proxy's error may have taken its place. Check the source in a browser.",
        )
    return match[1].lower()


def listed_checksum(text: str, name: str) -> str:
    """The sha256 of one file in a list as sha256sum writes it."""
    match = re.search(rf"^([0-9a-fA-F]{{64}}) [ *]{re.escape(name)}$", text, re.MULTILINE)
    if match is None:
        raise CpkitError(f"SHA256SUMS names no {name}", hint="Check the version and the architecture.")
    return match[1].lower()


@contextmanager
def _downloader(patience: Patience, progress: Progress) -> Iterator[Downloader]:
    with open_client(patience) as client:
        yield Downloader(client, patience, progress)
