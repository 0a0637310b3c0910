"""A run that leaves a page beside its report."""

from collections.abc import Iterator
from contextlib import contextmanager

from cpkit.errors import CpkitError
from cpkit.journal import Run, open_run
from cpkit.runs.page import PAGE, draw
from cpkit.runs.record import read


@contextmanager
def drawn_run(cluster: str, operation: str) -> Iterator[Run]:
    """Open a run, and draw its page when it is over, however it ends; a run without a report gets none."""
    opened: list[Run] = []
    try:
        with open_run(cluster, operation) as run:
            opened.append(run)
            yield run
    finally:
        for run in opened:
            _draw(run)


def _draw(run: Run) -> None:
    record = read(run.directory)
    if not record or not record.report:
        return
    try:
        draw(record, run.directory / PAGE)
    except CpkitError as error:  # the run has ended as it has; its page can be drawn again
        run.write("error", step="draw the page", message=str(error))
