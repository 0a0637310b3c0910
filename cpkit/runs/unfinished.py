"""Which run is to be taken up: the newest one that did not come to its end."""

from collections.abc import Iterable

from cpkit.runs.catalogue import listed
from cpkit.runs.record import Record

CUT = {"cut off", "failed", "interrupted"}


def unfinished(cluster: str) -> Record | None:
    """The run of a cluster that is to be taken up; one that goes on, too; None when each came to its end."""
    return chosen(listed(cluster))


def chosen(records: Iterable[Record]) -> Record | None:
    """The first of the records, newest first, that has left something undone; pure.

    Of an operation only its newest run counts, for that one has looked at what the others left. A run that was refused
    before it changed anything left nothing.
    """
    seen = set[str]()
    for record in records:
        if record.operation in seen or (not record.words and not record.owes):
            continue
        seen.add(record.operation)
        cut = record.outcome == "cut off" or (record.outcome in CUT and record.changed)
        if record.owes or cut or record.outcome == "going on":
            return record
    return None
