"""Run a command and learn how long it took and how much memory it and its children had at most."""

import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOOK = 0.05  # seconds between two looks at the processes


@dataclass(frozen=True)
class Ran:
    """A command that ended; peaks are of single processes, as the kernel keeps them."""

    rc: int
    stdout: str
    seconds: float
    peak_mb: float
    ansible_mb: float


def run(argv: Sequence[str], *, expect: Sequence[int] = (0,)) -> Ran:
    """Run to the end; RuntimeError, with the end of its output, for an unexpected exit code."""
    began = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks: dict[int, int] = {}
    ansible: set[int] = set()
    with Watcher(process.pid, peaks, ansible):
        stdout, stderr = process.communicate()
        seconds = time.monotonic() - began
    if process.returncode not in expect:
        raise RuntimeError(f"{' '.join(argv)} ended with {process.returncode}:\n{stdout[-4000:]}\n{stderr[-2000:]}")
    largest = max((peaks[pid] for pid in ansible), default=0)
    return Ran(process.returncode, stdout, seconds, peaks.get(process.pid, 0) / 1e6, largest / 1e6)


class Watcher:
    """Reads the peak of a process and of everything below it, again and again, from a thread of its own."""

    def __init__(self, root: int, peaks: dict[int, int], ansible: set[int]) -> None:
        self._root, self._peaks, self._ansible = root, peaks, ansible
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.is_set():
            for pid in (self._root, *_below(self._root)):
                with suppress(OSError):
                    self._look(pid)
            self._over.wait(LOOK)

    def _look(self, pid: int) -> None:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        peak = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
        if not peak:
            return  # it has ended
        self._peaks[pid] = max(peak, self._peaks.get(pid, 0))
        if pid != self._root and b"ansible-playbook" in Path(f"/proc/{pid}/cmdline").read_bytes():
            self._ansible.add(pid)


def _below(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, listing.read_text().split()):
                found += [child, *_below(child)]
    return found
