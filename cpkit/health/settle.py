"""The only polling loop: read and judge again until nothing blocks."""

from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import TypeVar

from cpkit.health.finding import Finding

S = TypeVar("S")
PAUSE = 0.5  # seconds between two readings


def settle(
    collect: Callable[[], S],
    judge: Callable[[S], Sequence[Finding]],
    *,
    deadline: float,
    stable: int = 1,
    pause: float = PAUSE,
) -> tuple[Finding, ...]:
    """The findings of the last reading: nothing blocked in `stable` readings in a row, or the deadline passed."""
    end = monotonic() + deadline
    good = 0
    while True:
        findings = tuple(judge(collect()))
        good = 0 if any(finding.blocks for finding in findings) else good + 1
        # A good reading is never the last word before `stable` of them, even past the deadline.
        if good >= stable or (good == 0 and monotonic() >= end):
            return findings
        sleep(pause)
