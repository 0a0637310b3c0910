"""The binaries of a node: where they lie, which of them were verified and are unchanged, and which are selected."""

from __future__ import annotations

import json
from pathlib import Path


class Record:
    """What saves hashing binaries again that have not changed since they were verified."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._path = root / "verified.json"
        try:
            self._seen: dict[str, list[object]] = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            self._seen = {}

    def holds(self, path: Path, sha256: str) -> bool:
        """Whether a binary is there with this checksum, by its record alone."""
        return self._seen.get(str(path)) == [sha256, *_identity(path)]

    def note(self, path: Path, sha256: str) -> None:
        """Remember that a binary was verified."""
        self._seen[str(path)] = [sha256, *_identity(path)]

    def unchanged(self) -> dict[str, str]:
        """Path to checksum, of each binary that is as it was when it was verified."""
        paths = {path: str(seen[0]) for path, seen in self._seen.items() if seen and Path(path).is_file()}
        return {path: sha256 for path, sha256 in paths.items() if self.holds(Path(path), sha256)}

    def selected(self) -> dict[str, str]:
        """Component to the version its link `current` selects."""
        return {link.parent.name: str(link.readlink()) for link in self.root.glob("*/current") if link.is_symlink()}

    def save(self) -> None:
        """Keep the record for the next run."""
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(self._seen))
        temporary.rename(self._path)


def _identity(path: Path) -> list[int]:
    """What changes when a file's content does; its links may come and go."""
    status = path.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns]
