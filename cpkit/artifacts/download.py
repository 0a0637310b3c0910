"""Downloads that resume and end in a checksum."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from cpkit.artifacts.files import digest
from cpkit.artifacts.http import Cut, Patience, get, shown
from cpkit.artifacts.progress import Progress
from cpkit.artifacts.source import Tampered
from cpkit.errors import CpkitError

RESUME_HINT = "Run the same command again to go on from there, or name another --source."


@dataclass(frozen=True)
class Downloader:
    """Big files from HTTP servers, each into a `.part` that outlives a failure."""

    client: httpx.Client
    patience: Patience
    progress: Progress

    def file(self, url: str, sha256: str, workspace: Path, label: str) -> Path:
        """The file that hashes to `sha256`, going on from where an earlier try stopped."""
        # The checksum in the name keeps a part of one mirror's file from being continued with another's.
        part = workspace / f"{Path(httpx.URL(url).path).name}.{sha256[:16]}.part"
        resumed = _size(part) > 0
        self._complete(url, part, label)
        if resumed and digest(part) != sha256:
            self.progress.say(f"{label}: what was resumed does not fit; downloading it whole")
            part.unlink()
            self._complete(url, part, label)
        if (found := digest(part)) != sha256:
            size = _size(part)
            part.unlink()
            raise Tampered(
                f"{shown(url)} has the wrong checksum: its {size} bytes hash to {found}, published is {sha256}",
                hint="It is truncated or was changed. Nothing was cached. "
                "Have the mirror synchronised again, or name another --source.",
            )
        return part

    def _complete(self, url: str, part: Path, label: str) -> None:
        fruitless = 0
        while True:
            before = _size(part)
            try:
                return self._attempt(url, part, label)
            except Cut as error:
                fruitless = 0 if _size(part) - before >= self.patience.floor else fruitless + 1
                if fruitless >= self.patience.attempts:
                    raise CpkitError(f"{error.message}, {_size(part)} bytes in", hint=RESUME_HINT) from error

    def _attempt(self, url: str, part: Path, label: str) -> None:
        start = _size(part)
        # Compressed on the way, a range would count other bytes than the file's.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with get(self.client, url, headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is left to fetch; the checksum has the last word
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                start = 0
            length = response.headers.get("Content-Length")
            self.progress.begin(label, "bytes", start + int(length) if length else None)
            try:
                with part.open("ab" if start else "wb") as handle:
                    self._receive(response, handle, start)
            finally:
                self.progress.end()

    def _receive(self, response: httpx.Response, handle: BinaryIO, start: int) -> None:
        total, mark, opened = start, start, time.monotonic()
        for chunk in response.iter_raw():
            handle.write(chunk)
            total += len(chunk)
            self.progress.advance(total)
            if time.monotonic() - opened < self.patience.window:
                continue
            if total - mark < self.patience.floor:
                raise CpkitError(
                    f"{shown(str(response.url))} stalled: {total - mark} bytes in {self.patience.window:g} s",
                    hint=RESUME_HINT,
                )
            mark, opened = total, time.monotonic()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
