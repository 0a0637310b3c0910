"""The data directories of a restore: etcd's own, and the new and the old data beside it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from ansible.module_utils.cpkit_disk import sync_directory, sync_file
from ansible.module_utils.cpkit_restore import Trouble


class Data:
    """etcd's data directory, and the new and the old data beside it; inside of it where it is a mount point."""

    def __init__(self, path: str, restore: str, owner: str) -> None:
        self.path = Path(path).resolve()
        self.owner = pwd.getpwnam(owner)
        inside = self.path.is_mount()
        place = self.path if inside else self.path.parent
        stem = "" if inside else self.path.name
        self.new, self.part, self.old = (place / f"{stem}.{word}-{restore}" for word in ("restore", "part", "before"))
        self.current = self.path / "member"

    @property
    def switched(self) -> bool:
        """Whether the new data is in place; known from what is there, for the last write of a marker may be lost."""
        return self.current.exists() and self.old.exists() and not self.new.exists()

    @property
    def _waiting(self) -> bool:
        """Whether the new data is not in place yet, so that what is in place is the old."""
        return (self.new / "member").exists()

    def prepare(self, command: list[str]) -> None:
        """Have the command make the new data; it has its name only when it is whole, owned and on the disk."""
        shutil.rmtree(self.part, ignore_errors=True)
        done = subprocess.run([*command, f"--data-dir={self.part}"], capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(self.part, ignore_errors=True)
            raise Trouble(f"etcdutl could not restore the snapshot: {_last(done.stderr or done.stdout)}")
        for folder, _, names in os.walk(self.part):
            self._own(Path(folder), 0o700)
            for name in names:
                self._own(Path(folder) / name, 0o600)
                sync_file(Path(folder) / name)
            sync_directory(Path(folder))
        self.part.rename(self.new)
        sync_directory(self.new.parent)

    def switch(self) -> None:
        """Move the old data aside and the new one in place; may be cut off anywhere and called again."""
        if self.switched:
            return
        if self._waiting:
            self._make(self.path)
            self._make(self.old)
            if self.current.exists():
                _rename(self.current, self.old / "member")
            _rename(self.new / "member", self.current)
        elif not (self.current.exists() and self.old.exists()):
            raise Trouble(f"the new data is not in {self.new}")
        self.new.rmdir()
        sync_directory(self.new.parent)

    def switch_back(self) -> None:
        """Put the old data back in place, and drop the new; may be cut off anywhere and called again."""
        if self.old.exists():
            if not self._waiting and self.current.exists():
                self._make(self.new)
                _rename(self.current, self.new / "member")
            if (self.old / "member").exists():
                _rename(self.old / "member", self.current)
            self.old.rmdir()
            sync_directory(self.old.parent)
        self.discard()

    def discard(self) -> None:
        """Drop new data that never got in place."""
        shutil.rmtree(self.part, ignore_errors=True)
        shutil.rmtree(self.new, ignore_errors=True)

    def _make(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        self._own(path, 0o700)
        sync_directory(path.parent)

    def _own(self, path: Path, mode: int) -> None:
        os.chown(path, self.owner.pw_uid, self.owner.pw_gid)
        path.chmod(mode)


def _rename(source: Path, target: Path) -> None:
    source.rename(target)
    sync_directory(source.parent)
    sync_directory(target.parent)


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it said nothing"
