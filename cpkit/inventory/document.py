"""YAML files as plain data that remembers the line of every key and item."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from cpkit.inventory.problems import Place, Problems

Route = tuple[Hashable, ...]  # the keys and indexes that lead to a value

VAULT_FILE = "$ANSIBLE_VAULT;"
_STANDARD = "tag:yaml.org,2002:"
_MERGE = f"{_STANDARD}merge"


@dataclass(frozen=True)
class Tagged:
    """A value under a tag of Ansible's, as `!vault`; what it holds is not looked at."""

    tag: str


@dataclass(frozen=True)
class Document:
    """What a file says, and on which line it says it."""

    file: Path
    value: Any = None
    lines: dict[Route, int] = field(default_factory=dict)

    def place(self, *route: Hashable) -> Place:
        """Where a value is written, or the nearest value around it."""
        while route and route not in self.lines:
            route = route[:-1]
        return Place(self.file, self.lines.get(route, 0))


def read(file: Path, problems: Problems) -> Document:
    """Read one YAML file; whatever is wrong with it is added to the problems."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        problems.add(Place(file), f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        problems.add(Place(file), "is not text in UTF-8")
    else:
        return _parse(file, text, problems)
    return Document(file)


def _parse(file: Path, text: str, problems: Problems) -> Document:
    if text.startswith(VAULT_FILE):
        hint = "keep only ansible_become_password secret, and give it with --ask-become-pass"
        problems.add(Place(file, 1), f"is encrypted with ansible-vault, which cpkit does not open; {hint}")
        return Document(file)
    try:
        root, scalars = _compose(text)
        reader = _Reader(file, scalars, problems)
        return Document(file, None if root is None else reader.value(root, ()), reader.lines)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.add(Place(file, mark.line + 1 if mark else 0), f"is not YAML: {error.problem or error.context}")
    except YAMLError as error:
        problems.add(Place(file), f"is not YAML: {str(error).splitlines()[0]}")
    except RecursionError:
        problems.add(Place(file), "is nested too deeply")
    return Document(file)


@lru_cache(maxsize=64)  # a run reads the same files again and again; nodes are only ever read
def _compose(text: str) -> tuple[Node | None, SafeConstructor]:
    """The nodes of a text, and what makes scalars of them."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = "1.1"  # as Ansible reads it: `yes` is a boolean
    scalars: SafeConstructor = yaml.constructor
    try:
        return yaml.compose(text), scalars
    except (YAMLError, RecursionError):
        raise
    except Exception as error:  # the parser meets some malformed text with errors of Python's
        raise YAMLError(f"it cannot be parsed ({error})") from error


class _Reader:
    """Turns nodes into plain data, and notes lines as it goes."""

    def __init__(self, file: Path, scalars: SafeConstructor, problems: Problems) -> None:
        self.lines: dict[Route, int] = {}
        self._file = file
        self._problems = problems
        self._scalars = scalars
        self._done: dict[int, Any] = {}  # by node, as an alias leads to the same node again
        self._open: set[int] = set()

    def value(self, node: Node, route: Route) -> Any:
        self.lines.setdefault(route, node.start_mark.line + 1)
        if id(node) in self._open:
            self._complain(node, "an alias leads to itself")
            return None
        if id(node) not in self._done:
            self._open.add(id(node))
            self._done[id(node)] = self._build(node, route)
            self._open.discard(id(node))
        return self._done[id(node)]

    def _build(self, node: Node, route: Route) -> Any:
        tag = str(node.tag)
        if not tag.startswith(_STANDARD):
            return Tagged(tag)
        if isinstance(node, MappingNode):
            return self._mapping(node, route)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*route, index)) for index, item in enumerate(node.value)]
        return self._scalar(node) if isinstance(node, ScalarNode) else None

    def _mapping(self, node: MappingNode, route: Route) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if str(key_node.tag) == _MERGE:
                merged = self._merged(value_node, route) | merged
                continue
            key = self._scalar(key_node) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
                self._complain(key_node, "a key must be text; quote it")
                continue
            here = (*route, key)
            if key in result:
                self._complain(key_node, f"{key!r} is written twice, first in line {self.lines[here]}")
            self.lines[here] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, here)
        return merged | result

    def _merged(self, node: Node, route: Route) -> dict[Any, Any]:
        value = self.value(node, (*route, "<<"))
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            self._complain(node, "only mappings can be merged with <<")
            return {}
        return {key: item for part in reversed(parts) for key, item in part.items()}

    def _scalar(self, node: ScalarNode) -> Any:
        kind = str(node.tag).removeprefix(_STANDARD)
        make = {
            "null": self._scalars.construct_yaml_null,
            "bool": self._scalars.construct_yaml_bool,
            "int": self._scalars.construct_yaml_int,
            "float": self._scalars.construct_yaml_float,
        }.get(kind)
        if make is None or (kind == "float" and "." not in node.value):  # to Ansible, 1e3 is text
            return str(node.value)
        try:
            return make(node)
        except (ValueError, LookupError, ArithmeticError):
            self._complain(node, f"{node.value!r} is not of the kind {kind}")
            return None

    def _complain(self, node: Node, text: str) -> None:
        self._problems.add(Place(self._file, node.start_mark.line + 1), text)
