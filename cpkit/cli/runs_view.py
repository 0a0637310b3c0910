"""How runs are shown: tables for people, JSON for programs."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cpkit.cli.backup_view import table
from cpkit.cli.options import Output

if TYPE_CHECKING:
    from cpkit.runs import Record

MARKS = {"done": "✓", "failed": "✗", "interrupted": "■", "cut off": "✗", "going on": "…"}
LONGEST = 70  # characters of a reason in the list
MINUTES = 120  # seconds from which on minutes are said


def table_of(records: "Sequence[Record]", count: int, cluster: str, output: Output) -> str:
    """The runs, one a line."""
    if output is Output.JSON:
        return json.dumps([summary(each) for each in records], indent=2)
    if not records:
        return f"There is no run of {cluster or 'any cluster'} on this machine."
    columns = ("RUN", "CLUSTER", "WHEN (UTC)", "OPERATION", "END", "TOOK", "CHANGED", "FAILED", "GAP", "WHY")
    rows = [
        (
            each.name.partition("Z-")[0] + "Z",
            each.cluster,
            datetime.fromtimestamp(each.began, UTC).strftime("%Y-%m-%d %H:%M"),
            each.operation,
            f"{MARKS[each.outcome]} {each.outcome}",
            took(each.seconds),
            ", ".join(each.changed) or "-",
            _failed(each),
            _gap(each),
            _line(each.reason),
        )
        for each in records
    ]
    more = [f"{count - len(records)} older: --limit 0 lists all."] if count > len(records) else []
    return "\n".join([table(columns, rows), *more, "One of them: cpkit runs show RUN"])


def shown(record: "Record", output: Output) -> str:
    """All that is known of one run."""
    if output is Output.JSON:
        return json.dumps(document(record), indent=2, default=str)
    return "\n".join([*_head(record), *_steps(record), *_api(record), *_findings(record), *_paths(record)])


def summary(record: "Record") -> dict[str, Any]:
    """A run in a list, for programs."""
    seen = record.availability
    return {
        "cluster": record.cluster,
        "run": record.name,
        "operation": record.operation,
        "owner": record.owner,
        "began": _iso(record.began),
        "ended": None if record.outcome == "going on" else _iso(record.ended),
        "seconds": round(record.seconds, 2),
        "outcome": record.outcome,
        "reason": record.reason,
        "changed": dict(record.changed),
        "requests": seen.get("requests"),
        "failed": seen.get("failed"),
        "longest_gap": seen.get("longest_gap"),
        "directory": str(record.directory),
    }


def document(record: "Record") -> dict[str, Any]:
    """A run with all that it did, for programs."""
    return summary(record) | {
        "hint": record.hint,
        "steps": [
            {
                "step": step.name,
                "node": step.node,
                "began": _iso(step.began),
                "seconds": round(step.seconds, 2),
                "outcome": step.outcome,
            }
            for step in record.steps
        ],
        "leaders": [{"at": _iso(each.at), "node": each.node, "term": each.term} for each in record.leaders],
        "command": record.command,
        "report": record.report or None,
    }


def took(seconds: float) -> str:
    """A duration."""
    return f"{seconds:.1f} s" if seconds < MINUTES else f"{seconds / 60:.1f} min"


def _head(record: "Record") -> Iterator[str]:
    when = datetime.fromtimestamp(record.began, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield f"{MARKS[record.outcome]} {record.operation} of {record.cluster}: {record.outcome}, {took(record.seconds)}"
    yield f"  {when}{f', by {record.owner}' if record.owner else ''}"
    if record.reason:
        yield f"  {record.reason}"
    if record.hint:
        yield f"    {record.hint}"


def _steps(record: "Record") -> Iterator[str]:
    width = max((len(step.name) for step in record.steps), default=0)
    if record.steps:
        yield "\nSteps:"
    for step in record.steps:
        told = "" if step.outcome == "done" else f"  {step.outcome}"
        yield f"  {MARKS[step.outcome]} {step.name:{width}}  {took(step.seconds):>9}{told}"
    nodes = dict.fromkeys(step.node for step in record.turns)
    if nodes:
        yield "\nTurns:"
    for node in nodes:
        turns = [f"{turn.what} {took(turn.seconds)}" for turn in record.turns if turn.node == node]
        yield f"  {node}  {', '.join(turns)}"
    if record.changed:
        hosts = [f"{host} ({count} {'task' if count == 1 else 'tasks'})" for host, count in record.changed.items()]
        yield f"\nChanged: {', '.join(hosts)}"
    if record.leaders:
        yield f"etcd's leader: {' → '.join(each.node for each in record.leaders)}, as seen between turns"


def _api(record: "Record") -> Iterator[str]:
    from cpkit.health.quorum import plural

    seen = record.availability
    if not seen:
        yield "\nHow the API did meanwhile is not known."
        return
    yield f"\nAPI meanwhile: {_failed(record)} requests failed, longest gap {_gap(record)}"
    if kept := record.kept:
        counts = f"{kept['failed']} of {kept['requests']} failed, longest gap {kept['longest_gap']:.2f} s"
        yield f"  on a kept connection: {counts}"
    if followed := record.followed:
        times = f"{followed['cut']} {plural('time', followed['cut'])}"
        again = f", for {followed['longest_gap']:.2f} s at most" if followed["cut"] else ""
        yield f"  a watch was cut {times}{again}"
    for node, each in record.directly.items():
        if not each.get("reached"):
            yield f"  {node}: its API server never answered here, {each.get('requests')} requests"
            continue
        turn = f", and {each['away']} in its own turn" if each.get("away") else ""
        yield f"  {node}: {each.get('failed')} of {each.get('requests')} failed at its own API server{turn}"


def _findings(record: "Record") -> Iterator[str]:
    findings = record.report.get("findings") or []
    if findings:
        yield "\nFindings:"
    for each in findings:
        where = each.get("node") or "cluster"
        yield f"  {each.get('level', ''):7} {where}  {each.get('check', '')}: {each.get('text', '')}"


def _paths(record: "Record") -> Iterator[str]:
    if record.command:
        yield f"\nThe same without cpkit: {record.command}"
    yield ""
    for name in ("run.jsonl", "ansible.log", "report.json", "report.html"):
        if (record.directory / name).is_file():
            yield str(record.directory / name)
    if not (record.directory / "report.html").is_file():
        yield f"A page that draws it: cpkit runs report {record.name}"


def _failed(record: "Record") -> str:
    seen = record.availability
    return f"{seen['failed']} of {seen['requests']}" if {"failed", "requests"} <= seen.keys() else "-"


def _gap(record: "Record") -> str:
    gap = record.availability.get("longest_gap")
    return f"{gap:.2f} s" if isinstance(gap, int | float) else "-"


def _line(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
