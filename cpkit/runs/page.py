"""The page of a run: one file that needs nothing else, no script and no network."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpkit.errors import CpkitError
from cpkit.runs.drawing import lay_out
from cpkit.runs.record import Record

if TYPE_CHECKING:
    from jinja2 import Template

PAGE = "report.html"
COUNTS = ("requests", "failed", "longest_gap")
KEY = (
    ("good", "the node's own API server answers"),
    ("away", "failed in the node's own turn"),
    ("bad", "failed"),
    ("reign", "leads etcd, as seen between turns"),
)


def draw(record: Record, path: Path) -> Path:
    """Write a run's page, whole or not at all."""
    temporary = path.with_name(f"{path.name}.new")
    try:
        temporary.write_text(render(record), encoding="utf-8")
        temporary.rename(path)
    except OSError as error:
        raise CpkitError(
            f"cannot write {path}: {error.strerror}", hint="Name another file with --output FILE."
        ) from error
    return path


def render(record: Record) -> str:
    """The page as HTML; whatever a node or a user has said stands in it as text."""
    drawing = lay_out(record)
    key: tuple[tuple[str, str], ...] = KEY if record.directly else KEY[-1:] if record.leaders else ()
    if drawing.chart:
        key += (("medianbox", "median latency"), ("slowestbox", "slowest answer"))
    return _template().render(run=record, drawing=drawing, seen=_counts(record.availability), key=key)


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader  # only who draws a page waits for it

    environment = Environment(
        loader=PackageLoader("cpkit.runs", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"time": _time, "seconds": _seconds, "css": lambda outcome: outcome.replace(" ", "-")}
    return environment.get_template("page.html.j2")


def _counts(availability: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return availability if all(isinstance(availability.get(name), int | float) for name in COUNTS) else None


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
