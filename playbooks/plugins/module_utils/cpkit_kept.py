"""Keep files aside before they are replaced, so that a change that does not hold can be taken back."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from pathlib import Path

from ansible.module_utils.cpkit_files import Plan


def keep(paths: list[str], folder: str) -> None:
    """Copy files, where they exist, into a folder of root's own; what is kept there already is older, and stays."""
    root = Path(folder)
    for path in paths:
        source, target = Path(path), root / path.lstrip("/")
        if target.exists() or target.is_symlink() or not (source.is_file() or source.is_symlink()):
            continue
        if not source.is_file():  # a link to a folder, as one that selects a version
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.symlink_to(source.readlink())
            _remember(source)
            continue
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = source.stat()
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(source.read_bytes())
            os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, status.st_mode & 0o7777)
            stream.flush()
            os.fsync(descriptor)
        temporary.rename(target)


def _remember(link: Path) -> None:
    """Leave a link beside one that selects a version: what it selected is the version before once another runs."""
    temporary = link.with_name(f".{link.name}.before")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(link.readlink())
    temporary.rename(link.with_name("before"))


def kept(folder: str) -> list[dict[str, object]]:
    """What is kept, as entries that can be laid down where they were."""
    root = Path(folder)
    if not root.is_dir():
        return []
    files = sorted(path for path in root.rglob("*") if _is_kept(path))
    return [_entry(path, f"/{path.relative_to(root)}") for path in files]


def restore(folder: str) -> list[str]:
    """Lay down what is kept, all at once; the paths that differed."""
    plan = Plan(kept(folder), [])
    plan.apply()
    return plan.paths


def forget(folder: str) -> bool:
    """Remove what is kept; whether there was anything."""
    root = Path(folder)
    if not root.is_dir():
        return False
    aside = root.with_name(f".{root.name}.gone")  # half a folder must never be taken for what was kept
    shutil.rmtree(aside, ignore_errors=True)
    root.rename(aside)
    shutil.rmtree(aside)
    return True


def _is_kept(path: Path) -> bool:
    return (path.is_file() or path.is_symlink()) and not path.name.endswith(".new")


def _entry(path: Path, where: str) -> dict[str, object]:
    if path.is_symlink():
        return {"path": where, "link": str(path.readlink())}
    status = path.stat()
    return {
        "path": where,
        "content": path.read_text(),
        "mode": f"{status.st_mode & 0o7777:o}",
        "owner": pwd.getpwuid(status.st_uid).pw_name,
        "group": grp.getgrgid(status.st_gid).gr_name,
        "secret": True,
    }
