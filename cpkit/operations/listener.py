"""How an operation tells what it is doing, without knowing who listens."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from ssl import SSLContext
from typing import Any, ClassVar, Protocol, Self

from cpkit.artifacts import Progress
from cpkit.inventory import Endpoint
from cpkit.journal import Run


class Listener(Protocol):
    """A view of a running operation: steps one after the other, and what happens within them."""

    @property
    def progress(self) -> Progress:
        """What shows how far binaries have come."""

    def begin(self, step: str) -> None:
        """A step begins."""

    def end(self, step: str, outcome: str, seconds: float) -> None:
        """A step is over: done, failed or interrupted."""

    def status(self, text: str) -> None:
        """What the current step is doing now; the next one replaces it."""

    def say(self, text: str) -> None:
        """A line worth keeping."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Something happened in a play."""


Confirm = Callable[[str], bool]  # shows a plan, and says whether to go on


class Seen(Protocol):
    """What a watch saw; a dataclass that says it in words."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __str__(self) -> str: ...


class Watcher(Protocol):
    """Something that watches the API while an operation runs."""

    def start(self) -> Self:
        """Begin to watch."""

    def touching(self, node: str) -> None:
        """This node, and no other one, is restarted on purpose from now on; "" for none."""

    @property
    def failed(self) -> int:
        """How many requests to the endpoint have failed so far."""

    def stop(self) -> Seen:
        """End, and say what was seen."""


# The endpoint, the CA it is verified with, as PEM, the nodes whose own API servers are watched as well, and what an
# administrator shows, to follow a resource.
WatchFactory = Callable[[Endpoint, str, Mapping[str, Endpoint], SSLContext | None], Watcher]


class Within:
    """What listens to an operation within another: lines worth keeping, and no steps of its own."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.progress = listener.progress

    def begin(self, step: str) -> None:
        """Nothing to show."""

    def end(self, step: str, outcome: str, seconds: float) -> None:
        """Nothing to show."""

    def status(self, text: str) -> None:
        """Nothing to show."""

    def say(self, text: str) -> None:
        """A line worth keeping."""
        self._listener.say(text)

    def event(self, event: Mapping[str, Any]) -> None:
        """Nothing to show."""


def stepping(run: Run, listener: Listener) -> Callable[[str], AbstractContextManager[None]]:
    """What makes a step of a run: journalled, and shown."""

    @contextmanager
    def step(name: str) -> Iterator[None]:
        listener.begin(name)
        try:
            with run.step(name):
                yield
        finally:
            last = run.steps[-1]
            listener.end(name, last["outcome"], last["seconds"])

    return step
