"""Where an inventory is: a directory, a file, a lab, or a name under ./inventories."""

from pathlib import Path

from cpkit.errors import UsageError
from cpkit.paths import state_dir

HOSTS_FILES = ("hosts.yml", "hosts.yaml")


def hosts_file(named: str | Path) -> Path:
    """The absolute path of the hosts file that a user means; UsageError tells what there is instead."""
    text = str(named)
    if not text.strip():
        raise UsageError("no inventory is named", hint=_known())
    try:
        return _found(text)
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"the inventory {text!r} cannot be read: {error}") from error


def _found(text: str) -> Path:
    path = Path(text).expanduser()
    if path.is_file():
        return path.absolute()
    places = [path] if _is_path(text) else [path, _labs() / path / "inventory", Path("inventories") / path]
    for place in places:
        for name in HOSTS_FILES:
            if (place / name).is_file():
                return (place / name).absolute()
    there = next((place for place in places if place.is_dir()), None)
    if there:
        raise UsageError(f"{there} holds no hosts.yml", hint=_foreign(there) or _known())
    raise UsageError(f"there is no inventory {text!r}", hint=_known())


def _is_path(text: str) -> bool:
    return "/" in text or text in {".", "..", "~"}


def _labs() -> Path:
    return state_dir() / "labs"


def _foreign(directory: Path) -> str:
    for name in ("hosts", "hosts.ini", "inventory", "inventory.ini", "inventory.yml"):
        if (directory / name).is_file():
            command = f"ansible-inventory -i {directory / name} --list --yaml --output {directory / 'hosts.yml'}"
            return f"cpkit reads YAML. Convert {name}: {command}"
    return ""


def _known() -> str:
    here = _inside(Path("inventories"), "")
    labs = _inside(_labs(), "inventory")
    said = [f"Under ./inventories: {', '.join(here)}."] if here else []
    said += [f"Labs: {', '.join(labs)}."] if labs else []
    return " ".join([*said, "Write a new one: cpkit init NAME --help"])


def _inside(folder: Path, below: str) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        entry.name for entry in folder.iterdir() if any((entry / below / name).is_file() for name in HOSTS_FILES)
    )
