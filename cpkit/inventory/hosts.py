"""The groups and hosts that a hosts file lists, as Ansible's YAML inventories are read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cpkit.inventory.document import Document, Route
from cpkit.inventory.problems import Place, Problems, did_you_mean, is_close

SECTIONS = ("hosts", "children", "vars")
ROLE_GROUPS = ("control_plane", "load_balancer")
_NESTING = 50


@dataclass(frozen=True)
class Setting:
    """A variable's value, and where it is written."""

    value: Any
    document: Document
    route: Route

    def place(self, *deeper: str | int) -> Place:
        """Where it is written, or where a value inside it is."""
        return self.document.place(*self.route, *deeper)


Settings = dict[str, Setting]


@dataclass
class Group:
    """A group as the hosts file has it."""

    name: str
    place: Place
    settings: Settings = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)


@dataclass
class Listing:
    """All groups, and all hosts with what is written beside them."""

    document: Document
    groups: dict[str, Group] = field(default_factory=dict)
    hosts: dict[str, Settings] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)  # where each host is first named

    def members(self, group: str) -> list[str]:
        """The hosts of a group and of the groups below it, in the order they are written."""
        names = [host for name in self._below(group) for host in self.groups[name].hosts]
        return list(dict.fromkeys(names))

    def groups_of(self, host: str) -> list[Group]:
        """The groups a host is in, those whose variables count most last; `all` is not among them."""
        mine = [group for group in self.groups.values() if group.name != "all" and host in self.members(group.name)]
        return sorted(mine, key=lambda group: (self._depth(group.name), _priority(group), group.name))

    def _below(self, group: str) -> Iterator[str]:
        seen: set[str] = set()
        waiting = [group] if group in self.groups else []
        while waiting:
            name = waiting.pop(0)
            if name not in seen:
                seen.add(name)
                yield name
                waiting[:0] = self.groups[name].children

    def _depth(self, name: str, limit: int = _NESTING) -> int:
        parents = [group.name for group in self.groups.values() if group.name != "all" and name in group.children]
        return 1 + max((self._depth(parent, limit - 1) for parent in parents), default=0) if limit else _NESTING


def list_hosts(document: Document, problems: Problems) -> Listing:
    """Read the groups and hosts of a hosts file."""
    listing = Listing(document)
    if not isinstance(document.value, dict):
        if not problems.found:
            problems.add(document.place(), "lists no hosts; it begins with `all:` and `children:`")
        return listing
    for name, body in document.value.items():
        _group(listing, name, body, (name,), problems)
    for role in ROLE_GROUPS:
        _refuse_lookalike(listing, role, problems)
    return listing


def _group(listing: Listing, name: str, body: Any, route: Route, problems: Problems) -> None:
    document = listing.document
    group = listing.groups.setdefault(name, Group(name, document.place(*route)))
    if len(route) > _NESTING:
        problems.add(document.place(*route), "groups are nested too deeply")
        return
    if not isinstance(body, dict | None):
        problems.add(document.place(*route), f"group {name!r} must hold {', '.join(SECTIONS)}")
        return
    for section, content in (body or {}).items():
        here = (*route, section)
        if section not in SECTIONS:
            hint = did_you_mean(section, SECTIONS, otherwise=f"; a group holds {', '.join(SECTIONS)}")
            problems.add(document.place(*here), f"{section!r} means nothing in group {name!r}{hint}")
        elif not isinstance(content, dict | None):
            problems.add(
                document.place(*here), f"{section!r} of group {name!r} must be a mapping: each name ends with a colon"
            )
        elif section == "vars":
            group.settings |= settings(document, content, here)
        elif section == "hosts":
            _hosts(listing, group, content or {}, here, problems)
        else:
            for child, inner in (content or {}).items():
                group.children.append(child)
                _group(listing, child, inner, (*here, child), problems)


def _hosts(listing: Listing, group: Group, content: dict[str, Any], route: Route, problems: Problems) -> None:
    for name, body in content.items():
        place = listing.document.place(*route, name)
        if "[" in name or ":" in name:
            problems.add(place, f"{name!r}: write each host by its name alone; ranges and ports in names are not read")
        elif not isinstance(body, dict | None):
            problems.add(place, f"host {name!r} must hold variables, as {{ansible_host: 192.0.2.11}}")
        else:
            listing.hosts.setdefault(name, {}).update(settings(listing.document, body, (*route, name)))
        listing.hosts.setdefault(name, {})
        listing.places.setdefault(name, place)
        group.hosts.append(name)


def settings(document: Document, content: Any, route: Route = ()) -> Settings:
    """The variables of a mapping in a document."""
    return {name: Setting(value, document, (*route, name)) for name, value in (content or {}).items()}


def _priority(group: Group) -> int:
    priority = group.settings.get("ansible_group_priority")
    return priority.value if priority and isinstance(priority.value, int) else 1


def _refuse_lookalike(listing: Listing, role: str, problems: Problems) -> None:
    if role in listing.groups:
        return
    for group in listing.groups.values():
        if group.name not in ROLE_GROUPS and is_close(group.name, [role]):
            problems.add(group.place, f"group {group.name!r} is not known; did you mean {role!r}?")
