"""A fetch's progress in a terminal: a live bar, or plain lines where there is none."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar

from cpkit.artifacts.progress import Progress, Unit

PLAIN_INTERVAL = 15.0  # seconds between two plain lines of one piece


def listener() -> Progress:
    """What shows a fetch on standard error, which leaves standard output to the result."""
    console = Console(stderr=True, highlight=False)
    return Live(console) if console.is_terminal else Plain(console)


class Live:
    """One bar at a time; what is done stays above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Bar | None = None
        self._task = TaskID(0)

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._console.print(line, markup=False)

    def begin(self, label: str, unit: Unit, total: int | None) -> None:
        """Show a bar that counts bytes or packages."""
        self._bar = Bar(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), *_columns(unit), console=self._console
        )
        self._task = self._bar.add_task(label, total=total)
        self._bar.start()

    def advance(self, done: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)

    def end(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Plain:
    """Lines for logs: the beginning, a sign of life now and then, the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._label = ""
        self._of = ""
        self._begun = self._told = 0.0

    def say(self, line: str) -> None:
        """The line."""
        self._console.print(line, markup=False, soft_wrap=True)

    def begin(self, label: str, unit: Unit, total: int | None) -> None:
        """Name the piece and its size."""
        self._label = label
        self._of = f" of {_amount(total, unit)}" if total else f" {unit}"
        self._begun = self._told = time.monotonic()
        self.say(f"{label}: {_amount(total, unit)}" if total else label)

    def advance(self, done: int) -> None:
        """A line when enough time went by."""
        if time.monotonic() - self._told >= PLAIN_INTERVAL:
            self._told = time.monotonic()
            self.say(f"{self._label}: {_number(done, self._of)}{self._of}, {self._elapsed()}")

    def end(self) -> None:
        """How long it took."""
        self.say(f"{self._label}: over after {self._elapsed()}")

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._begun:.0f} s"


def _columns(unit: Unit) -> tuple[ProgressColumn, ...]:
    if unit == "bytes":
        return DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    return MofNCompleteColumn(), TextColumn("packages"), TimeElapsedColumn()


def _amount(total: int | None, unit: Unit) -> str:
    if total is None:
        return unit
    return f"{total / 1e6:.1f} MB" if unit == "bytes" else f"{total} packages"


def _number(done: int, of: str) -> str:
    return f"{done / 1e6:.1f}" if of.endswith("MB") else str(done)
