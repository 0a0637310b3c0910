"""Ansible module: stop units, and move what they leave aside; nothing is deleted."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpkit_aside
short_description: Stop units, and move files and folders into one dated folder
description:
  - Nothing is deleted. What was at C(/etc/kubernetes) is at C(FOLDER/etc/kubernetes) then.
  - What lies on a file system of its own stays on it, beside where it was, and a link in the folder leads there.
  - A call that was cut off is taken up by the next one, into the same folder.
options:
  units:
    description: Units that are stopped and disabled first, one after the other.
    type: list
    elements: str
    default: []
  paths:
    description: Files and folders that are moved.
    type: list
    elements: str
    default: []
  root:
    description: Where the dated folders are.
    type: str
    default: /var/lib/cpkit/aside
author: cpkit
"""

EXAMPLES = r"""
- name: Stop etcd and move its data aside
  cpkit_aside:
    units: [etcd.service]
    paths: [/var/lib/etcd]
"""

RETURN = r"""
folder:
  description: Where everything is now; empty when nothing was there.
  type: str
  returned: always
paths:
  description: What was moved.
  type: list
  returned: always
"""

import errno
import os
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cpkit_disk import sync_directory
from ansible.module_utils.cpkit_units import UnitFailed, properties, systemctl

UNFINISHED = "unfinished"


class Aside:
    """The folder that things are moved into; a link to it tells that a call was cut off."""

    def __init__(self, root: Path) -> None:
        self.mark = root / UNFINISHED
        begun = self.mark.readlink() if self.mark.is_symlink() else Path()
        self.begun = self.mark.is_symlink()
        self.folder = begun if self.begun else root / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())

    def begin(self) -> None:
        """Make the folder, and note that things are on their way into it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.begun:
            self.mark.symlink_to(self.folder)
        sync_directory(self.mark.parent)

    def take(self, path: Path) -> None:
        """Move one thing; one that is a mount point keeps its place, and gives what is in it."""
        if path.is_mount():
            self.beside(path, path / f".aside-{self.folder.name}", [each for each in path.iterdir() if _content(each)])
            return
        target = self.folder / path.relative_to("/")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            path.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self.beside(path, path.with_name(f".{path.name}.aside-{self.folder.name}"), [path])
        sync_directory(path.parent)

    def beside(self, path: Path, place: Path, things: list[Path]) -> None:
        """Move things within their own file system, and leave a link in the folder that leads there."""
        link = self.folder / path.relative_to("/")
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(place)
        place.mkdir(mode=0o700, exist_ok=True)
        for thing in things:
            thing.rename(place / thing.name)
        sync_directory(place)

    def end(self) -> None:
        """Everything is there."""
        self.mark.unlink()
        sync_directory(self.mark.parent)


def _content(path: Path) -> bool:
    return path.name != "lost+found" and not path.name.startswith(".aside-")


def there(path: Path) -> bool:
    """Whether there is anything to move."""
    if not path.is_symlink() and path.is_mount():
        return any(map(_content, path.iterdir()))
    return os.path.lexists(path)


def loaded(unit: str) -> bool:
    """Whether a unit runs, or would be started with the machine."""
    state = properties(unit)
    return state.get("ActiveState") not in {"inactive", "failed"} or state.get("UnitFileState") == "enabled"


def stop(unit: str) -> None:
    """Stop a unit for good."""
    systemctl("disable", "--quiet", unit, check=False)
    systemctl("stop", unit)
    systemctl("reset-failed", unit, check=False)


def main() -> None:
    """Stop, then move."""
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            "paths": {"type": "list", "elements": "str", "default": []},
            "root": {"type": "str", "default": "/var/lib/cpkit/aside"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    units = [unit for unit in wanted["units"] if loaded(unit)]
    paths = [path for path in wanted["paths"] if there(Path(path))]
    aside = Aside(Path(wanted["root"]))
    folder = str(aside.folder) if paths or aside.begun else ""
    told = {"changed": bool(units or paths or aside.begun), "folder": folder, "paths": paths}
    if module.check_mode:
        module.exit_json(**told)
    try:
        for unit in units:
            stop(unit)
        if folder:
            aside.begin()
            for path in paths:
                aside.take(Path(path))
            aside.end()
        if any("/systemd/" in path for path in paths):
            systemctl("daemon-reload")
    except (UnitFailed, OSError) as error:
        module.fail_json(msg=str(error), **{**told, "changed": True})
    module.exit_json(**told)


if __name__ == "__main__":
    main()
