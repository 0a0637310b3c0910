"""How a fetch tells what it is doing, without knowing who listens."""

from typing import Literal, Protocol

Unit = Literal["bytes", "packages"]


class Progress(Protocol):
    """A listener; one piece of work is under way at a time."""

    def say(self, line: str) -> None:
        """A line worth keeping on the screen."""

    def begin(self, label: str, unit: Unit, total: int | None) -> None:
        """A piece of work starts; its total may not be known."""

    def advance(self, done: int) -> None:
        """So much of the piece is done, counted from its start."""

    def end(self) -> None:
        """The piece is over, well or badly."""


class Silent:
    """A listener that shows nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    def begin(self, label: str, unit: Unit, total: int | None) -> None:
        """Nothing."""

    def advance(self, done: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""
