"""`python -m bench`: measure, print, and with --write keep what was measured in docs/."""

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench import host
from bench.backup import measure
from bench.measure import one_round, start
from bench.model import Bootstrap, Floor, Results, Round, Start
from bench.model_backup import read
from bench.page import page
from bench.page_backup import kept, replaced, section
from cpkit import artifacts
from cpkit.errors import CpkitError
from cpkit.versions import version_table

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "benchmarks.md"


def main() -> None:
    """Measure, or read an earlier measurement, and show it."""
    options = _options()
    if options.backup:
        _backups(options)
        return
    try:
        results = _read(options.read) if options.read else _measure(options.nodes, options.repeat)
    except (CpkitError, RuntimeError, TimeoutError) as error:
        sys.exit(f"Error: {error}")
    if options.save:
        options.save.write_text(json.dumps(asdict(results), indent=1) + "\n")
    text = page(results)
    if not options.write:
        print(text)
        return
    from bench.plot import plot

    plot(results, DOCS / "benchmarks.svg")
    before = kept(PAGE.read_text()) if PAGE.exists() else ""
    _write(replaced(text, before) if before else text)


def _backups(options: argparse.Namespace) -> None:
    """Measure backups and restores, and show or write that part of the page alone."""
    try:
        found = read(options.read) if options.read else measure(options.repeat, _say)
    except (CpkitError, RuntimeError, TimeoutError) as error:
        sys.exit(f"Error: {error}")
    if options.save:
        options.save.write_text(json.dumps(asdict(found), indent=1) + "\n")
    part = section(found)
    if not options.write:
        print(part)
        return
    _write(replaced(PAGE.read_text(), part))


def _write(text: str) -> None:
    PAGE.write_text(text)
    _say(f"wrote {PAGE}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 5], help="sizes to measure (default: 3 5)")
    parser.add_argument("--repeat", type=int, default=3, help="rounds of each size (default: 3)")
    parser.add_argument("--backup", action="store_true", help="measure backups, drills and restores instead")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and docs/benchmarks.svg")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the raw numbers as JSON")
    parser.add_argument("--read", type=Path, metavar="FILE", help="show raw numbers kept before, and measure nothing")
    return parser.parse_args()


def _measure(sizes: list[int], repeat: int) -> Results:
    table = version_table()
    row = table.minors[table.default]
    for binary in artifacts.ensure(row.kubernetes, row.etcd).binaries:
        binary.path.read_bytes()  # from now on the kernel has them in memory, for either side
    machine = host.machine() | {"load before": f"{host.load():.1f}"}
    rounds = [one_round(nodes, floor_first=number % 2 == 0, say=_say) for nodes in sizes for number in range(repeat)]
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Results(date, machine, host.versions(), start(), rounds)


def _read(path: Path) -> Results:
    body = json.loads(path.read_text())
    rounds = []
    for one in body["rounds"]:
        runs = {key: Bootstrap(**one[key]) for key in ("bootstrap", "second")}
        rounds.append(Round(**one | {"floor": Floor(**one["floor"])} | runs))
    return Results(**body | {"start": Start(**body["start"]), "rounds": rounds})


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
