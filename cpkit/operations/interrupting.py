"""What a user is told who pressed Ctrl-C while nodes were changed one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager

from cpkit.errors import Interrupted
from cpkit.journal import Run


@contextmanager
def interruptible(run: Run) -> Iterator[None]:
    """Tell a user who pressed Ctrl-C where that leaves the nodes."""
    try:
        yield
    except KeyboardInterrupt:
        turns = [step for step in run.steps if " on " in step["step"]]
        where = f" during: {turns[-1]['step']}; whether that was done is not known" if turns else ""
        raise Interrupted(
            f"interrupted{where}",
            hint="Run the same command again: it looks, and goes on where it stopped. Until then the cluster's lock is "
            f"kept for you;\n  if somebody else is to go on: cpkit unlock.\n  Log: {run.log}",
        ) from None
