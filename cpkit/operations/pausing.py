"""What happens between two nodes of a run: a pause that the user wants, and the end of a budget of failed requests."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from time import sleep

from cpkit.errors import Interrupted, Refused
from cpkit.operations.listener import Listener, Watcher


@dataclass(frozen=True)
class Pausing:
    """What the user wants between two nodes."""

    seconds: float | None = None  # to wait; 0 asks instead, None does neither
    max_failed: int | None = None  # failed requests after which no further node is touched


@dataclass
class Between:
    """Steps of a run that are not begun before what the user wants has happened."""

    wanted: Pausing
    watcher: Watcher
    listener: Listener
    step: Callable[[str], AbstractContextManager[None]]
    waited: bool = field(default=False, init=False)  # before this step, so that its gate has to be asked again
    last: str = field(default="", init=False)  # the node whose turn it was

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """A step, once its turn may begin; Refused when too many requests have failed, Interrupted by a no."""
        node = name.rpartition(" on ")[2]
        before, self.last, self.waited = self.last, node, False
        if before:
            self._refuse_spent(node)
        if before not in {"", node} and self.wanted.seconds is not None:
            self._pause(before, node, self.wanted.seconds)
            self._refuse_spent(node)
            self.waited = True
        with self.step(name):
            yield

    def _pause(self, before: str, node: str, seconds: float) -> None:
        if seconds:
            self.listener.say(f"{before} is done; {node} follows in {seconds:g} s")
            sleep(seconds)
            return
        sys.stderr.write(f"{before} is done. Go on with {node}? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            hint = "Run the same command again: it goes on there."
            raise Interrupted(f"stopped before {node}, as you asked", hint=hint)

    def _refuse_spent(self, node: str) -> None:
        budget = self.wanted.max_failed
        if budget is not None and self.watcher.failed > budget:
            raise Refused(
                f"{self.watcher.failed} requests to the API failed, and --max-failed is {budget}",
                hint=f"The run stopped before {node}. Look why: cpkit health, cpkit runs report.\n"
                "  Then run the same command again: it goes on there.",
            )
