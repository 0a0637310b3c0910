"""Lay files down on a node all at once, so that a reader never sees half of them."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import tempfile
from pathlib import Path


class Plan:
    """The difference between the files a node should have and those it has."""

    def __init__(self, files: list[dict[str, object]], directories: list[dict[str, object]]) -> None:
        self.directories = [entry for entry in directories if _directory_differs(entry)]
        self.files = [entry for entry in files if _file_differs(entry)]

    @property
    def paths(self) -> list[str]:
        """What would change, in order."""
        return [str(entry["path"]) for entry in (*self.directories, *self.files)]

    def diffs(self) -> list[dict[str, str]]:
        """Before and after of every file that is not secret."""
        return [_diff(entry) for entry in self.files]

    def apply(self) -> None:
        """Make directories, stage every file beside its target, then rename all of them back to back."""
        for entry in self.directories:
            path = Path(str(entry["path"]))
            path.mkdir(parents=True, exist_ok=True)
            _own(path, entry)
        staged: list[tuple[Path, Path]] = []
        try:
            for entry in self.files:
                staged.append((_stage(entry), Path(str(entry["path"]))))  # noqa: PERF401 - each at once, to be removed
            for temporary, path in staged:
                temporary.rename(path)
        except BaseException:
            for temporary, _ in staged:
                temporary.unlink(missing_ok=True)  # may hold a key
            raise
        for folder in {path.parent for _, path in staged}:
            _sync_directory(folder)


def _stage(entry: dict[str, object]) -> Path:
    path = Path(str(entry["path"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    if "link" in entry:
        return _stage_link(path, str(entry["link"]))
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 and O_EXCL
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(str(entry["content"]).encode())
            _own(temporary, entry)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink()
        raise
    return temporary


def _stage_link(path: Path, leads_to: str) -> Path:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(leads_to)
    return temporary


def _own(path: Path, entry: dict[str, object]) -> None:
    user, group = _ids(entry)
    os.chown(path, user, group)
    path.chmod(int(str(entry["mode"]), 8))


def _ids(entry: dict[str, object]) -> tuple[int, int]:
    owner = str(entry.get("owner") or "root")
    user = pwd.getpwnam(owner)
    group = entry.get("group")
    return user.pw_uid, grp.getgrnam(str(group)).gr_gid if group else user.pw_gid


def look(path: Path) -> dict[str, object]:
    """What decides whether a file, directory or link is as it should be, for whoever has no access to it; else empty.

    `primary` tells whether its group is the one of its owner; `sha256` is a file's, and a link has `link` alone.
    """
    if path.is_symlink():
        return {"link": _leads_to(path)}
    if not (path.is_file() or path.is_dir()):
        return {}
    status = path.stat()
    try:
        owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return {}
    seen: dict[str, object] = {
        "mode": status.st_mode & 0o7777,
        "owner": owner.pw_name,
        "group": group.gr_name,
        "primary": owner.pw_gid == status.st_gid,
    }
    return seen if path.is_dir() else seen | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _directory_differs(entry: dict[str, object]) -> bool:
    path = Path(str(entry["path"]))
    return not path.is_dir() or _ownership_differs(path, entry)


def _file_differs(entry: dict[str, object]) -> bool:
    path = Path(str(entry["path"]))
    if "link" in entry:
        return _leads_to(path) != str(entry["link"])
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return True
    return content != str(entry["content"]).encode() or path.is_symlink() or _ownership_differs(path, entry)


def _leads_to(path: Path) -> str:
    """Where a symbolic link leads; empty for anything else."""
    return str(path.readlink()) if path.is_symlink() else ""


def _ownership_differs(path: Path, entry: dict[str, object]) -> bool:
    status = path.stat()
    try:
        wanted = _ids(entry)
    except KeyError:
        return True  # the user is made by an earlier task, which check mode has only announced
    return (status.st_uid, status.st_gid) != wanted or status.st_mode & 0o7777 != int(str(entry["mode"]), 8)


def _diff(entry: dict[str, object]) -> dict[str, str]:
    path = Path(str(entry["path"]))
    header = {"before_header": str(path), "after_header": str(path)}
    if "link" in entry:
        return header | {"before": f"{_leads_to(path)}\n".lstrip(), "after": f"{entry['link']}\n"}
    if entry.get("secret"):
        return header | {"before": "(secret)\n" if path.exists() else "", "after": "(secret, changed)\n"}
    before = path.read_text(errors="replace") if path.is_file() else ""
    return header | {"before": before, "after": str(entry["content"])}


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
