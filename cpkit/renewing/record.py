"""What is remembered of a node's own renewals: on the node for `cpkit health` and Prometheus, in etcd for all."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cpkit.node import telling
from cpkit.node.telling import Row
from cpkit.renewing.settings import Settings

OWN = b"/cpkit/renewal/"
LOCK, RECORD = OWN + b"lock", OWN + b"last"  # of the node that renewed last
STATUS, METRICS = "status.json", "cpkit_renewal.prom"
WELL = {"idle", "renewed"}
HELP = {
    "cpkit_renewal_last_run_timestamp_seconds": "When the node last looked whether leaves are due by itself.",
    "cpkit_renewal_last_run_success": "1 if that went well, whether or not a leaf was due.",
    "cpkit_renewal_last_renewed": "How many leaves the node renewed the last time that any was due.",
    "cpkit_renewal_last_renewed_timestamp_seconds": "When that was.",
    "cpkit_renewal_next_end_timestamp_seconds": "When the first leaf of the node ends.",
}


@dataclass(frozen=True)
class Status:
    """What a node knows after its last run; times are seconds since the epoch."""

    at: float = 0.0  # 0 before the first run
    outcome: str = "waiting"  # for the first run; then idle (no leaf was due), renewed, or failed
    error: str = ""
    hint: str = ""
    ends: float = 0.0  # when the first leaf ends
    renewed: tuple[str, ...] = ()  # the last time that any was due
    renewed_at: float = 0.0


def read_status(folder: Path) -> Status:
    """What an earlier run left."""
    try:
        told = json.loads((folder / STATUS).read_text(encoding="utf-8"))
        return Status(**{**told, "renewed": tuple(told["renewed"])})
    except (OSError, ValueError, TypeError, KeyError):
        return Status()


def write(settings: Settings, status: Status) -> None:
    """Keep a status for `cpkit health`, and tell it to Prometheus."""
    told = (json.dumps(asdict(status), indent=2) + "\n").encode()
    rows = samples(status.at, status.outcome, status.ends, len(status.renewed), status.renewed_at)
    text = telling.exposition(settings.cluster, settings.node, rows, HELP)
    metrics = Path(settings.metrics) / METRICS if settings.metrics else None
    telling.leave(Path(settings.state) / STATUS, told, metrics, text)


def samples(at: float, outcome: str, ends: float, count: int, renewed_at: float) -> list[Row]:
    """What is known as metrics; what is not known is absent."""
    rows: list[Row] = []
    if at:
        rows.append(("cpkit_renewal_last_run_timestamp_seconds", {}, at))
        rows.append(("cpkit_renewal_last_run_success", {}, float(outcome in WELL)))
    if renewed_at:
        rows.append(("cpkit_renewal_last_renewed", {}, float(count)))
        rows.append(("cpkit_renewal_last_renewed_timestamp_seconds", {}, renewed_at))
    return rows + ([("cpkit_renewal_next_end_timestamp_seconds", {}, ends)] if ends else [])
