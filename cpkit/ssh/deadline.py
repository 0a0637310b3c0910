"""A point in time that several waits share."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """When the whole of something must be over."""

    seconds: float
    at: float

    @classmethod
    def within(cls, seconds: float) -> "Deadline":
        """The deadline that many seconds from now."""
        return cls(seconds, time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left; TimeoutError when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not done within {self.seconds:g} s")
        return left
