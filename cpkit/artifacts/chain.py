"""The chain of sources, tried in order, always ending in the verified cache."""

import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cpkit.artifacts.build import GoModules
from cpkit.artifacts.cache import Cache
from cpkit.artifacts.entry import Entry
from cpkit.artifacts.mirror import FileMirror, HttpMirror, ReleaseSite
from cpkit.artifacts.model import Target
from cpkit.artifacts.progress import Progress
from cpkit.artifacts.source import Source, Tampered
from cpkit.artifacts.tree import DirectoryTree, TarTree
from cpkit.errors import CpkitError, UsageError


def sources(source: str, cache: Cache) -> tuple[Source, ...]:
    """What `auto`, a URL, a directory or a tar stands for."""
    if source == "auto":
        return (ReleaseSite(), GoModules(cache.root / "tools"))
    if source.startswith(("http://", "https://")):
        return (HttpMirror(source),)
    path = Path(source.removeprefix("file://")).expanduser()
    if path.is_dir():
        return (FileMirror(DirectoryTree(path)),)
    if path.is_file() and tarfile.is_tarfile(path):
        return (FileMirror(TarTree(path)),)
    what = "is neither a directory nor a tar" if path.exists() else "does not exist"
    raise UsageError(
        f"source {source} {what}",
        hint="Give auto, a mirror's URL or directory, or a bundle that `cpkit artifacts export` wrote.",
    )


def fetch(target: Target, sources: Sequence[Source], cache: Cache, progress: Progress) -> Entry:
    """The target from the cache, or from the first source that has it; safe beside other processes."""
    if entry := cache.lookup(target):
        return entry
    with _told(cache), cache.lock(target, lambda: progress.say(f"Another cpkit is fetching {target}; waiting for it")):
        if entry := cache.lookup(target):
            return entry
        if cache.read(target) is not None:
            progress.say(f"{target} in the cache is not what was fetched; fetching it again")
        entry = _first_that_has_it(target, sources, cache, progress)
        shutil.rmtree(cache.workspace(target), ignore_errors=True)  # kept for a failed fetch to go on from
        return entry


@contextmanager
def _told(cache: Cache) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CpkitError(
            f"{error.filename or cache.root}: {error.strerror or error}",
            hint="Nothing was cached. Make room and access there, or point XDG_CACHE_HOME elsewhere.",
        ) from error


def _first_that_has_it(target: Target, sources: Sequence[Source], cache: Cache, progress: Progress) -> Entry:
    failures: list[CpkitError] = []
    for source, after in zip(sources, [*sources[1:], None], strict=True):
        try:
            with cache.staging(target) as staging:
                fetched = source.fetch(target, staging, cache.workspace(target), progress)
                return cache.admit(target, staging, fetched.expected, fetched.origin)
        except Tampered:
            raise
        except CpkitError as error:
            failures.append(error)
            if after is not None:
                progress.say(f"{error.message}; falling back to {after.name}")
    raise _combined(target, failures)


def _combined(target: Target, failures: Sequence[CpkitError]) -> CpkitError:
    *earlier, last = failures
    if not earlier:
        return last
    before = "; ".join(error.message for error in earlier)
    return CpkitError(f"no source has {target}: {before}; {last.message}", hint=last.hint)
