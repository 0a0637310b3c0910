"""Which runs there are, newest first, and which one a user means."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from cpkit.errors import UsageError
from cpkit.paths import state_dir
from cpkit.runs.record import Record, read

SHOWN = 5  # names that a message lists


def runs_of(cluster: str = "") -> list[Path]:
    """The directories of a cluster's runs, or of all clusters', newest first."""
    clusters = state_dir() / "clusters"
    homes = [clusters / cluster] if cluster else _folders(clusters)
    found = [each for home in homes for each in _folders(home / "runs") if (each / "run.jsonl").is_file()]
    return sorted(found, key=lambda each: (each.name, each.parent.parent.name), reverse=True)


def listed(cluster: str = "", limit: int = 0) -> tuple[Record, ...]:
    """The newest runs, newest first; with no limit all of them."""
    records = (record for directory in runs_of(cluster) if (record := read(directory)))
    return tuple(islice(records, limit or None))


def find(named: str, cluster: str = "") -> Record:
    """The run of that name or with a name that begins so; the newest one without a name. UsageError when in doubt."""
    directories = runs_of(cluster)
    where = f"of cluster {cluster}" if cluster else "of any cluster"
    if not directories:
        raise UsageError(f"there is no run {where}", hint=_clusters() if cluster else "")
    wanted = named.strip().removesuffix("/").removesuffix("/report.json").rpartition("/")[2]
    chosen = [each for each in directories if each.name == wanted] if named else directories[:1]
    chosen = chosen or [each for each in directories if each.name.startswith(wanted)]
    if len(chosen) > 1:
        raise UsageError(f"{named!r} may be {_told(chosen)}", hint="Give more of the name, or the cluster with -i.")
    if not chosen:
        names = [each.name for each in directories]
        meant = get_close_matches(wanted, names, n=1, cutoff=0.5)
        hint = f"Did you mean {meant[0]}?" if meant else f"The newest are {_told(directories)}."
        raise UsageError(f"there is no run {named!r} {where}", hint=f"{hint} All of them: cpkit runs list")
    record = read(chosen[0])
    if not record:
        raise UsageError(f"the journal of {chosen[0].name} cannot be read", hint=f"Look into {chosen[0]}")
    return record


def _folders(parent: Path) -> Iterator[Path]:
    try:
        yield from (each for each in parent.iterdir() if each.is_dir())
    except OSError:
        return


def _told(directories: Sequence[Path]) -> str:
    more = f" and {len(directories) - SHOWN} more" if len(directories) > SHOWN else ""
    return ", ".join(f"{each.name} ({each.parent.parent.name})" for each in directories[:SHOWN]) + more


def _clusters() -> str:
    known = sorted({each.parent.parent.name for each in runs_of()})
    return f"There are runs of: {', '.join(known[:20])}{' …' if len(known) > 20 else ''}." if known else ""
