"""The variables of every host, laid over one another in Ansible's order."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cpkit.inventory.document import Document, Tagged, read
from cpkit.inventory.hosts import ROLE_GROUPS, Listing, Setting, Settings, settings
from cpkit.inventory.problems import Place, Problems, did_you_mean, is_close

EXTENSIONS = ("", ".yml", ".yaml", ".json")
USERS_OWN = ("ansible_", "x_")


class Variables:
    """What group_vars and host_vars beside a hosts file say, together with the hosts file itself."""

    def __init__(self, listing: Listing, problems: Problems) -> None:
        folder = listing.document.file.parent
        self._listing = listing
        self._groups = {name: _read_all(folder / "group_vars", name, problems) for name in ["all", *listing.groups]}
        self._hosts = {name: _read_all(folder / "host_vars", name, problems) for name in listing.hosts}
        _refuse_lookalikes(folder / "group_vars", problems)

    def of(self, host: str) -> Settings:
        """The variables of one host; of two values, the one that Ansible would use."""
        result: Settings = {}
        for layer in self._layers(host):
            result |= layer
        return result

    def everything(self, hosts: Iterable[str]) -> Iterator[tuple[str, Setting]]:
        """Every variable written for any of these hosts, hidden ones too, each once."""
        seen: set[tuple[Path, Any]] = set()
        for host in hosts:
            for layer in self._layers(host):
                for name, setting in layer.items():
                    key = (setting.document.file, setting.route)
                    if key not in seen:
                        seen.add(key)
                        yield name, setting

    def _layers(self, host: str) -> Iterator[Settings]:
        groups = self._listing.groups_of(host)
        everyone = self._listing.groups.get("all")
        yield everyone.settings if everyone else {}
        yield from (group.settings for group in groups)
        yield from self._groups["all"]
        for group in groups:
            yield from self._groups[group.name]
        yield self._listing.hosts[host]
        yield from self._hosts[host]


def literal(setting: Setting) -> str:
    """Why a value cannot be read as it stands; empty when it can."""
    for value in _leaves(setting.value):
        if isinstance(value, Tagged) and value.tag == "!vault":
            return "is encrypted with ansible-vault, which cpkit does not open; write it in plain"
        if isinstance(value, Tagged):
            return f"has the tag {value.tag}, which cpkit does not read; write it in plain"
        if isinstance(value, str) and any(mark in value for mark in ("{{", "{%", "{#")):
            return f"is a template ({_short(value)}), and cpkit reads it without Ansible; write the value itself"
    return ""


def refuse_unknown(found: Iterable[tuple[str, Setting]], known: Iterable[str], problems: Problems) -> None:
    """Add a problem for every variable that is neither known nor the user's own."""
    names = list(known)
    for name, setting in found:
        if name not in names and not name.startswith(USERS_OWN):
            hint = did_you_mean(name, names, otherwise="; names of your own begin with x_")
            problems.add(setting.place(), f"unknown variable {name!r}{hint}")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _short(text: str, width: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _read_all(folder: Path, name: str, problems: Problems) -> list[Settings]:
    return [_settings(read(file, problems), problems) for file in _files(folder, name, problems)]


def _settings(document: Document, problems: Problems) -> Settings:
    if isinstance(document.value, dict):
        return settings(document, document.value)
    if document.value is not None:
        problems.add(document.place(), "must be a mapping of variables, as `cluster_name: prod`")
    return {}


def _files(folder: Path, name: str, problems: Problems) -> list[Path]:
    """The files Ansible reads for a group or host: NAME (which may be a folder) or the first of NAME.yml and so on."""
    there = [path for path in (folder / f"{name}{extension}" for extension in EXTENSIONS) if path.exists()]
    for ignored in there[1:]:
        problems.add(
            Place(ignored), f"Ansible does not read it, because {there[0].name} is beside it; move it into that"
        )
    if not there:
        return []
    return list(_tree(there[0])) if there[0].is_dir() else [there[0]]


def _tree(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir(), key=lambda path: path.name):
        if entry.name.startswith(".") or entry.name.endswith("~"):
            continue
        if entry.is_dir() and not entry.suffix:
            yield from _tree(entry)
        elif entry.is_file() and entry.suffix in EXTENSIONS:
            yield entry


def _refuse_lookalikes(folder: Path, problems: Problems) -> None:
    """A file that belongs to no group is the user's business, unless its name is nearly that of one cpkit knows."""
    names = ("all", *ROLE_GROUPS)
    for entry in folder.iterdir() if folder.is_dir() else ():
        name = entry.stem if entry.suffix in EXTENSIONS else entry.name
        if name not in names and is_close(name, names):
            problems.add(Place(entry), f"belongs to no group{did_you_mean(name, names)}")
