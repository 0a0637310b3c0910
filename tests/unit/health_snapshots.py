"""Snapshots captured from a real cluster, and ways to spoil a healthy one."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from cpkit.facts.snapshot import Snapshot

FOLDER = Path(__file__).parent.parent / "snapshots"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
Raw = dict[str, Any]
Spoil = Callable[[Raw], object]


@cache
def text(name: str) -> str:
    return (FOLDER / f"{name}.json").read_text()


def document(name: str) -> Raw:
    """A fresh copy of a captured document."""
    loaded: Raw = json.loads(text(name))
    return loaded


@cache
def _adapter() -> TypeAdapter[Snapshot]:
    return TypeAdapter(Snapshot)


@cache
def captured(name: str) -> Snapshot:
    return _adapter().validate_python(document(name)["snapshot"])


def spoiled(*spoils: Spoil, of: str = "healthy") -> Snapshot:
    """A captured snapshot with something changed in it."""
    raw: Raw = document(of)["snapshot"]
    for spoil in spoils:
        spoil(raw)
    return _adapter().validate_python(raw)


def host(raw: Raw, node: str) -> Raw:
    found: Raw = raw["nodes"][node]["host"]
    return found


def certificate(raw: Raw, node: str, name: str) -> Raw:
    found: Raw = next(each for each in raw["nodes"][node]["certificates"] if each["path"].endswith(name))
    return found


def silence(node: str) -> Spoil:
    """The node does not answer."""

    def spoil(raw: Raw) -> None:
        raw["nodes"][node].update(host=None, certificates=[], clock=None, error="cannot be reached", hint="Look at it.")
        if node in raw["etcd"]["statuses"]:
            raw["etcd"]["statuses"][node] = {"error": "cannot be reached"}

    return spoil
