"""`cpkit artifacts`: fetch, list, verify and export Kubernetes and etcd binaries."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpkit.cli.options import Output, OutputOption, examples, new_app
from cpkit.errors import Exit, UsageError

if TYPE_CHECKING:
    from cpkit.artifacts import Entry, Target

app = new_app("Fetch, verify and export Kubernetes and etcd binaries.")


class Arch(StrEnum):
    """Architectures there are binaries for."""

    AMD64 = "amd64"
    ARM64 = "arm64"


class Only(StrEnum):
    """Half of what is usually fetched."""

    KUBERNETES = "kubernetes"
    ETCD = "etcd"


VersionOption = Annotated[
    str, typer.Option("--version", help="Kubernetes version, or a minor for its newest patch known; else the default.")
]
VersionsOption = Annotated[list[str], typer.Option("--version", help="Kubernetes version; may be given several times.")]
EtcdVersionOption = Annotated[
    str, typer.Option("--etcd-version", help="etcd version; else the one that goes with the Kubernetes minor.")
]
SourceOption = Annotated[
    str,
    typer.Option("--source", help="auto, or the only place to take binaries from: a URL, directory or tar."),
]
ArchOption = Annotated[Arch | None, typer.Option("--arch", help="Architecture of the nodes; else this machine's.")]
OnlyOption = Annotated[Only | None, typer.Option("--only", help="Fetch only Kubernetes, or only etcd.")]


@app.command(
    epilog=examples("cpkit artifacts fetch --version 1.36.3", "cpkit artifacts fetch --source /mnt/usb/cpkit.tar")
)
def fetch(
    version: VersionOption = "",
    etcd_version: EtcdVersionOption = "",
    source: SourceOption = "auto",
    arch: ArchOption = None,
    only: OnlyOption = None,
) -> None:
    """Bring verified binaries into the cache: from a mirror, the release site, or a build from Go modules.

    A partial download is resumed; nothing enters the cache before its checksum is right.
    """
    from cpkit.artifacts import fetch as fetch_target
    from cpkit.cli.fetching import listener

    progress = listener()
    for target in _targets(version, etcd_version, arch, only):
        entry = fetch_target(target, source=source, progress=progress)
        typer.echo(f"{target}: {len(entry.binaries)} binaries, {_size(entry.size)}, in {entry.directory}")


@app.command("list", epilog=examples("cpkit artifacts list -o json"))
def list_(output: OutputOption = Output.TABLE) -> None:
    """Show what the cache holds, from where and since when."""
    entries = _entries()
    if output is Output.JSON:
        _print_json([entry.summary() | {"directory": str(entry.directory)} for entry in entries])
    elif entries:
        _print_entries(entries)
    else:
        typer.echo("The cache is empty. Fill it with `cpkit artifacts fetch`.")


@app.command(epilog=examples("cpkit artifacts verify --drop && cpkit artifacts fetch"))
def verify(
    output: OutputOption = Output.TABLE,
    drop: Annotated[bool, typer.Option("--drop", help="Take what is damaged out of the cache.")] = False,
) -> None:
    """Hash every cached binary again and compare with its record; exit code 1 if one differs."""
    from cpkit.artifacts import Cache

    cache = Cache.default()
    found = {target: cache.verify(target) for target in cache.targets()}
    if output is Output.JSON:
        _print_json([_identity(target) | {"problems": problems} for target, problems in found.items()])
    else:
        for target, problems in found.items():
            typer.echo(f"{target}: {'; '.join(problems) or f'{len(target.product.binaries)} binaries as fetched'}")
    damaged = [target for target, problems in found.items() if problems]
    for target in damaged if drop else ():
        cache.drop(target)
        typer.echo(f"{target}: dropped; `cpkit artifacts fetch` brings it anew", err=True)
    if damaged:
        if not drop:
            typer.echo("Run with --drop to take what is damaged out of the cache, then fetch again.", err=True)
        raise typer.Exit(Exit.FAILED)


@app.command(epilog=examples("cpkit artifacts export --version 1.36.3 --version 1.37.2 cpkit-bundle.tar.xz"))
def export(
    destination: Annotated[Path, typer.Argument(metavar="FILE_OR_DIR", help="A directory, .tar, .tar.gz or .tar.xz.")],
    version: VersionsOption = [],  # noqa: B006 - typer copies it
    etcd_version: EtcdVersionOption = "",
    source: SourceOption = "auto",
    arch: ArchOption = None,
    only: OnlyOption = None,
) -> None:
    """Write an air-gap bundle that another machine names as its --source; fetches what the cache lacks."""
    from cpkit.artifacts import Cache
    from cpkit.artifacts import fetch as fetch_target
    from cpkit.artifacts.bundle import export as write
    from cpkit.cli.fetching import listener

    progress = listener()
    wanted = [target for text in version or [""] for target in _targets(text, etcd_version, arch, only)]
    entries = [fetch_target(target, source=source, progress=progress) for target in dict.fromkeys(wanted)]
    write(entries, destination, Cache.default(), progress)
    typer.echo(f"Exported {', '.join(str(entry.target) for entry in entries)} to {destination}")
    typer.echo(f"On the other machine: cpkit artifacts fetch --source {destination.name}")


def _targets(version: str, etcd_version: str, arch: Arch | None, only: Only | None) -> "list[Target]":
    from cpkit.artifacts import ETCD, KUBERNETES, Target, host_arch
    from cpkit.versions import Version, version_table

    table = version_table()
    kubernetes = table.meant(version)
    row = table.minor(kubernetes)
    etcd = Version.parse(etcd_version) if etcd_version else row.etcd
    if only is not Only.ETCD and etcd < row.etcd_floor:
        raise UsageError(f"etcd {etcd} is older than {row.etcd_floor}, the oldest for Kubernetes {kubernetes.series}")
    name = arch.value if arch else host_arch()
    targets = [Target(KUBERNETES, kubernetes, name), Target(ETCD, etcd, name)]
    return [target for target in targets if only is None or target.product.name == only.value]


def _entries() -> "list[Entry]":
    from cpkit.artifacts import Cache

    cache = Cache.default()
    return [entry for target in cache.targets() if (entry := cache.read(target))]


def _identity(target: "Target") -> dict[str, Any]:
    return {"product": target.product.name, "version": str(target.version), "arch": target.arch}


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _print_json(data: Any) -> None:
    import json

    typer.echo(json.dumps(data, indent=2))


def _print_entries(entries: "list[Entry]") -> None:
    for entry in entries:
        origin, fetched = entry.record.origin, entry.record.fetched.astimezone()
        place = f"built with {origin.build.go}" if origin.build else f"from {origin.place}"
        typer.secho(str(entry.target), bold=True, nl=False)
        typer.echo(f"  {_size(entry.size)}, {place}, {fetched:%Y-%m-%d %H:%M}")
        for binary in entry.binaries:
            typer.echo(f"  {binary.name:<24}{_size(binary.size):>10}  sha256 {binary.sha256[:16]}")
    total = sum(entry.size for entry in entries)
    typer.echo(f"{_size(total)} on disk in {entries[0].directory.parents[2]}")
