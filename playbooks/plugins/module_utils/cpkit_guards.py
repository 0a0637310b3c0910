"""What systemd is told for the time of a restore: units that may not start, and an etcd that starts unchecked."""

from __future__ import annotations

import re

from ansible.module_utils.cpkit_disk import sync_directory, sync_file

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from pathlib import Path

CHECK, UNCHECKED = "InitialCorruptCheck=true", "InitialCorruptCheck=false"
COMMAND = re.compile(r"^ExecStart=(?:.*\\\n)*.*$", re.MULTILINE)
GUARD = "cpkit-restore.conf"


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
