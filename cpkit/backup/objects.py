"""Objects of Kubernetes taken out of a backup, made fit to be applied."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ruamel.yaml.nodes import ScalarNode
    from ruamel.yaml.representer import SafeRepresenter

Object = dict[str, Any]
# What the API server fills in by itself, and refuses or ignores when it is told.
MANAGED = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)
# Owners are named by the UID they had: where they were made anew, the garbage collector would take the object away.
OWNERS = "ownerReferences"
PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-./"
# What some reader of YAML takes for something else than a word.
WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan")


def applicable(held: Object) -> tuple[Object, tuple[str, ...]]:
    """An object as `kubectl apply` takes it, and the fields that were removed for that."""
    metadata = dict(held.get("metadata") or {})
    removed = [f"metadata.{name}" for name in (*MANAGED, OWNERS) if name in metadata]
    kept = {name: value for name, value in metadata.items() if f"metadata.{name}" not in removed}
    body = {name: kept if name == "metadata" else value for name, value in held.items() if name != "status"}
    return body, (*removed, *(["status"] if "status" in held else []))


def listed(objects: Iterable[Object]) -> Object:
    """Several objects as one document."""
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}


def to_yaml(body: Object) -> str:
    """As YAML that every reader takes for the same, whichever version of YAML it knows."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 1 << 20
    yaml.representer.sort_base_mapping_type_on_output = False
    yaml.representer.add_representer(str, _string)
    stream = StringIO()
    yaml.dump(body, stream)
    return stream.getvalue()


def _string(representer: "SafeRepresenter", text: str) -> "ScalarNode":
    plain = text[:1].isalpha() and not text.strip(PLAIN) and text.lower() not in WORDS
    style = None if plain else "|" if _lines(text) else '"'
    node: ScalarNode = representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)
    return node


def _lines(text: str) -> bool:
    """Whether a text is lines that can stand as they are; elsewhere white space would not survive every reader."""
    lines = text.removesuffix("\n").split("\n")
    sound = all(line.isprintable() and line == line.rstrip() for line in lines)
    return "\n" in text and sound and bool(lines[-1]) and lines[0][:1].strip() != ""
