"""Write versions back into an inventory: one plain line each, so that comments and everything else stay as they are."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cpkit.errors import CpkitError
from cpkit.inventory.loading import load


def write_versions(hosts: Path, wanted: Mapping[str, str]) -> Path | None:
    """The file that was changed; None when it is the user's to change, for there is no single plain line to replace.

    A variable that is set nowhere is added at the end. The inventory is read again, and as it was unless it fits.
    """
    files = [path for path in _candidates(hosts.parent / "group_vars") if path.is_file()]
    if len(files) != 1 or any(name in hosts.read_text() for name in wanted):
        return None
    (path,) = files
    before = text = path.read_text()
    for name, value in wanted.items():
        changed = _changed(text, name, value)
        if changed is None:
            return None
        text = changed
    try:
        put(path, text, like=path)
        spec = load(hosts).spec
    except (CpkitError, OSError):
        spec = None
    if spec is None or any(getattr(spec, name) != value for name, value in wanted.items()):
        with suppress(OSError):
            put(path, before, like=path)
        return None
    return path


def _candidates(folder: Path) -> list[Path]:
    """Where variables of all nodes may be set; any other file of variables makes it the user's task."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _changed(text: str, name: str, value: str) -> str | None:
    line = re.compile(rf"^({name}:[ ]*)([\"']?)[0-9.]*\2([ ]*(?:#.*)?)$", re.MULTILINE)
    found = line.findall(text)
    mentioned = re.findall(rf"^(?!\s*#).*\b{name}\b", text, re.MULTILINE)
    bare = value.count(".") > 1  # anything else would not be text to YAML
    if not mentioned:
        quoted = value if bare else f'"{value}"'
        return f"{text.rstrip()}\n{name}: {quoted}\n"
    if len(found) != 1 or len(mentioned) != 1:
        return None
    quote = found[0][1] or ("" if bare else '"')
    return line.sub(rf"\g<1>{quote}{value}{quote}\g<3>", text)


def put(path: Path, text: str, *, like: Path) -> None:
    """Write a file whole or not at all, with another one's mode."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.chmod(like.stat().st_mode & 0o7777)
    temporary.replace(path)
