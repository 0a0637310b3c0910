"""What is remembered of scheduled backups: in etcd for all, and on each node for Prometheus and `cpkit health`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cpkit.backup.manifest import Sidecar
from cpkit.backup.node.settings import Settings
from cpkit.backup.resources import OWN
from cpkit.node import telling
from cpkit.node.telling import leave

LOCK = OWN + b"backup/lock"
RECORD = OWN + b"backup/record"  # the key of the last backup that was published
STATUS, METRICS = "status.json", "cpkit_backup.prom"
HELP = {
    "cpkit_backup_last_success_timestamp_seconds": "When the last scheduled backup was published.",
    "cpkit_backup_last_duration_seconds": "How long it took.",
    "cpkit_backup_last_size_bytes": "Its size in the store.",
    "cpkit_backup_last_revision": "etcd's revision in it.",
    "cpkit_backup_next_due_timestamp_seconds": "When the next scheduled backup is due.",
    "cpkit_backup_last_run_success": "1 if the node's last run went well, whichever node took the backup.",
    "cpkit_backup_verified_timestamp_seconds": "When a backup in the store was last verified, by the kind of proof.",
}


@dataclass(frozen=True)
class Record:
    """The last backup that was published; times are seconds since the epoch."""

    slot: float  # the time it was due
    name: str
    node: str
    at: float  # when it was published
    seconds: float
    size: int
    revision: int
    store: str
    store_id: str


@dataclass(frozen=True)
class Status:
    """What a node knows after its last run."""

    at: float
    slot: float
    next: float = 0.0  # when the first backup is due that is not known to be there; 0 for never
    period: float = 0.0
    outcome: str = "waiting"  # for the first run; then taken, seen (another node has taken it), or failed
    error: str = ""
    hint: str = ""
    record: Record | None = None
    verified: Mapping[str, float] = field(default_factory=dict)  # proof -> when a backup was last proven so


def to_json(value: Record | Status) -> bytes:
    """As it is written."""
    return (json.dumps(asdict(value), indent=2) + "\n").encode()


def read_record(data: bytes | None) -> Record | None:
    """A record; None when there is none, or it is of another cpkit."""
    try:
        return Record(**json.loads(data)) if data else None
    except (ValueError, TypeError):
        return None


def read_status(folder: Path) -> Status | None:
    """What an earlier run left; None when there was none."""
    try:
        told: dict[str, Any] = json.loads((folder / STATUS).read_text(encoding="utf-8"))
        record = told.pop("record")
        return Status(**told, record=Record(**record) if record else None)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(settings: Settings, status: Status) -> None:
    """Keep a status for `cpkit health`, and tell it to Prometheus."""
    metrics = Path(settings.metrics) / METRICS if settings.metrics else None
    leave(Path(settings.state) / STATUS, to_json(status), metrics, exposition(settings, status))


def proofs(backups: Iterable[Sidecar]) -> dict[str, float]:
    """When any backup was last proven, by the kind of proof."""
    found: dict[str, float] = {}
    for each in (proof for backup in backups for proof in backup.verified):
        found[each.proof] = max(each.at.timestamp(), found.get(each.proof, 0.0))
    return found


def samples(
    due: float, outcome: str, verified: Mapping[str, float], last: tuple[float, float, int, int] | None
) -> list[tuple[str, dict[str, str], float]]:
    """What is known as metrics, `last` being time, seconds, size and revision; what is not known is absent."""
    rows: list[tuple[str, dict[str, str], float]] = []
    names = ("success_timestamp_seconds", "duration_seconds", "size_bytes", "revision")
    rows += [(f"cpkit_backup_last_{name}", {}, value) for name, value in zip(names, last or (), strict=False)]
    if due:
        rows.append(("cpkit_backup_next_due_timestamp_seconds", {}, due))
    if outcome != "waiting":
        rows.append(("cpkit_backup_last_run_success", {}, float(outcome != "failed")))
    return rows + [("cpkit_backup_verified_timestamp_seconds", {"proof": proof}, at) for proof, at in verified.items()]


def exposition(settings: Settings, status: Status) -> str:
    """The text that a node exporter's textfile collector reads."""
    record = status.record
    last = (record.at, record.seconds, record.size, record.revision) if record else None
    rows = samples(status.next, status.outcome, status.verified, last)
    return telling.exposition(settings.cluster, settings.node, rows, HELP)
