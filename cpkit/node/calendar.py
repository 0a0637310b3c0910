"""When backups are due: systemd's calendar, asked of systemd itself."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cpkit.errors import CpkitError, UsageError

HINT = "Examples: hourly, daily, 02:30, Mon..Fri 22:00, *-*-01 04:00 Europe/Berlin. Try: systemd-analyze calendar"
_ZONE = re.compile(r"(^|\s)(UTC|[A-Z][A-Za-z]+/[A-Za-z0-9_/+-]+)$")
_ELAPSE = re.compile(r"^\s*(?:Next elapse|Iter(?:ation|\.) #\d+): \w+ (\S+ \S+) UTC$", re.MULTILINE)
_LONGEST_STEP = timedelta(days=4 * 366)
PATIENCE = 10.0

Elapses = Callable[[str, datetime, int], list[datetime]]


@dataclass(frozen=True)
class Slot:
    """The time a backup was due last, and the one after it."""

    due: datetime
    following: datetime | None

    @property
    def period(self) -> float:
        """Seconds from one to the other; 0 when it was the last."""
        return (self.following - self.due).total_seconds() if self.following else 0.0


def zoned(expression: str) -> str:
    """An expression that means the same on every node, whatever zone it is in: UTC, unless it names another."""
    text = " ".join(expression.split())
    return text if _ZONE.search(text) else f"{text} UTC"


def elapses(expression: str, after: datetime, count: int) -> list[datetime]:
    """The next times an expression means; UsageError when systemd does not understand it."""
    argv = ["systemd-analyze", "calendar", f"--iterations={count}", f"--base-time=@{after.timestamp():.6f}", expression]
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            env={"TZ": "UTC", "LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin", "SYSTEMD_COLORS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CpkitError(f"systemd-analyze cannot be asked when a backup is due: {error}") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UsageError(f"{expression!r} is no calendar of systemd: {said}", hint=HINT)
    found = _ELAPSE.findall(done.stdout)
    return [datetime.strptime(each, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) for each in found]


def slot(expression: str, now: datetime, ask: Elapses = elapses) -> Slot:
    """The slot that is due at a time: the last elapse up to it. UsageError when there never was one."""
    step = timedelta(seconds=1)
    while step <= _LONGEST_STEP:
        found = ask(expression, now - step, 1)
        if found and found[0] <= now:
            return _last(expression, found[0], now, ask)
        step *= 2
    raise UsageError(f"{expression!r} has named no time yet", hint=HINT)


def _last(expression: str, found: datetime, now: datetime, ask: Elapses) -> Slot:
    while True:
        following = ask(expression, found, 1)
        if not following or following[0] > now:
            return Slot(found, following[0] if following else None)
        found = following[0]
