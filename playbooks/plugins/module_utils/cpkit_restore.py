"""A restore on one node: how far it has come, what keeps services from starting meanwhile, and the data directories.

The invariant: no member starts on new data while another could start on old. From `held` on, a drop-in forbids every
service to start, across reboots too, and it is taken away only after every node has `switched`. Going back is the same
the other way round: from `aborting` on no node goes forward, and none may abort once any node is `committed`.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator

# In the order a restore passes through them. `aborting` leads back to before.
STAGES = ("begun", "prepared", "held", "quiet", "stopped", "switched", "committed", "started", "serving", "done")
ABORTING = "aborting"
BUMP = 1_000_000_000  # more revisions than a cluster writes in the time between a backup and its restore
CHECK, UNCHECKED = "InitialCorruptCheck=true", "InitialCorruptCheck=false"
COMMAND = re.compile(r"^ExecStart=(?:.*\\\n)*.*$", re.MULTILINE)
GUARD = "cpkit-restore.conf"


class Trouble(Exception):
    """What keeps a node from going on; the text is for people."""


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until what a run that was cut off has still under way on this node is over."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Marker:
    """The file that says how far a restore has come on this node; every change is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.values: dict[str, object] = json.loads(path.read_text())
        except FileNotFoundError:
            self.values = {}
        except ValueError as error:
            raise Trouble(f"{path} cannot be read: {error}. It says how far a restore has come; look at it.") from error

    @property
    def stage(self) -> str:
        """How far it has come, empty when none is under way."""
        return str(self.values.get("stage", ""))

    def reached(self, stage: str) -> bool:
        """Whether the restore has come so far, or further."""
        return self.stage in STAGES and STAGES.index(self.stage) >= STAGES.index(stage)

    def write(self, **values: object) -> None:
        """Keep these values as well."""
        self.values |= values
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=".restore.")
        with os.fdopen(descriptor, "w") as stream:
            json.dump(self.values, stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).rename(self.path)
        sync_directory(self.path.parent)


class Guards:
    """Drop-ins that forbid units to start: each asserts that it is not there, so taking it away is all it needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, unit: str) -> Path:
        """The drop-in of a unit."""
        return self.folder / f"{unit}.service.d" / GUARD

    def put(self, units: tuple[str, ...]) -> bool:
        """Forbid the units to start; whether any was free to."""
        free = [unit for unit in units if not self.path(unit).exists()]
        for unit in free:
            path = self.path(unit)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (
                "# A restore is under way. Go on with it: cpkit restore etcd. Go back: cpkit restore etcd --abort\n"
                f"[Unit]\nAssertPathExists=!{path}\n"
            )
            temporary = path.with_suffix(".new")
            temporary.write_text(text)
            sync_file(temporary)
            temporary.rename(path)
            sync_directory(path.parent)
            sync_directory(self.folder)
        return bool(free)

    def lift(self, units: tuple[str, ...]) -> bool:
        """Let the units start again; whether any was forbidden to."""
        held = [unit for unit in units if self.path(unit).exists()]
        for unit in held:
            path = self.path(unit)
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
            sync_directory(self.folder)
        return bool(held)


def unchecked(unit: Path, drop_in: Path) -> bool:
    """Make a drop-in that starts a unit without etcd's initial check of corruption; whether its command has one."""
    command = COMMAND.search(unit.read_text())
    if command is None or CHECK not in command.group():
        return False
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text(f"[Service]\nExecStart=\n{command.group().replace(CHECK, UNCHECKED)}\n")
    return True


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


def sync_file(path: Path) -> None:
    """Wait until a file is on the disk."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
