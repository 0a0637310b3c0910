"""The EncryptionConfiguration of the API servers: its keys in order, what it covers, and the next one of a rotation."""

import base64
import hmac
import io
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cpkit.errors import Refused

NUMBERED = re.compile(r"^key(\d+)$")
PROVIDER = "secretbox"


@dataclass(frozen=True)
class Key:
    """A key that encrypts; its fingerprint only tells it from others."""

    name: str
    secret: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """As the agent makes it."""
        return hmac.new(self.secret.encode(), b"fingerprint", "sha256").hexdigest()[:16]


@dataclass(frozen=True)
class Configuration:
    """What a node's file says."""

    keys: tuple[Key, ...]  # the first one writes
    resources: tuple[str, ...]
    providers: tuple[str, ...]
    rest: str = field(repr=False)  # the file without its keys: what a rotation leaves as it is
    others: frozenset[str] = frozenset()  # the names of keys of providers listed after the first, which only read

    @property
    def names(self) -> tuple[str, ...]:
        """The keys in order."""
        return tuple(key.name for key in self.keys)


def parse(text: str) -> Configuration:
    """Read a configuration; ValueError for one that cannot be rotated, saying why."""
    body = _load(text)
    keys: list[tuple[Key, ...]] = []
    resources: list[str] = []
    providers: list[str] = []
    others: set[str] = set()
    for entry in body["resources"]:
        first = entry["providers"][0]
        if list(first) != [PROVIDER]:
            raise ValueError(f"it writes with {next(iter(first))}, and only keys of {PROVIDER} are rotated")
        keys.append(tuple(Key(str(each["name"]), str(each["secret"])) for each in first[PROVIDER]["keys"]))
        resources += map(str, entry["resources"])
        providers += [str(name) for each in entry["providers"] for name in each]
        others |= {name for each in entry["providers"][1:] for name in _named(each)}
    if len(set(keys)) != 1 or not keys[0]:
        raise ValueError("its resources are encrypted with different keys")
    if strange := [name for name in resources if "*" in name or "." in name]:
        raise ValueError(f"it covers {strange[0]}, and only resources of the core group are rewritten")
    rest = with_keys(text, ())
    return Configuration(
        keys[0], tuple(dict.fromkeys(resources)), tuple(dict.fromkeys(providers)), rest, frozenset(others)
    )


def _named(provider: Mapping[str, Any]) -> Iterator[str]:
    """The names of a provider's keys; of a KMS, its own."""
    for settings in provider.values():
        named = [*settings.get("keys", ()), *([settings] if "name" in settings else ())] if settings else []
        yield from (str(each["name"]) for each in named)


def with_keys(text: str, keys: Sequence[Key]) -> str:
    """The same configuration with these keys, the first of which writes."""
    body = _load(text)
    for entry in body["resources"]:
        entry["providers"][0][PROVIDER]["keys"] = [{"name": key.name, "secret": key.secret} for key in keys]
    stream = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(body, stream)
    return stream.getvalue()


def _load(text: str) -> Any:
    try:
        body = YAML().load(text)
        if body["kind"] != "EncryptionConfiguration" or not all(entry["providers"] for entry in body["resources"]):
            raise ValueError("it is no EncryptionConfiguration")
    except (YAMLError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"it cannot be read: {type(error).__name__}") from error
    return body


@dataclass(frozen=True)
class Rotation:
    """From which keys to which, as far as it can be told from the nodes, wherever an earlier run was cut off."""

    new: Key
    old: tuple[Key, ...]
    begun: bool

    def wanted(self, stage: str) -> tuple[Key, ...]:
        """The keys of a node at the end of a stage."""
        return {"add": (*self.old, self.new), "promote": (self.new, *self.old), "drop": (self.new,)}[stage]

    def done(self, stage: str, names: Sequence[str]) -> bool:
        """Whether a node with these keys needs no change of that stage; none known is never done."""
        return {
            "add": self.new.name in names,
            "promote": tuple(names[:1]) == (self.new.name,),
            "drop": tuple(names) == (self.new.name,),
        }[stage]


def rotation(nodes: Mapping[str, Configuration], target: str = "") -> Rotation:
    """What there is to do from what every node holds; Refused when nodes do not fit together.

    `target` is the new key's name in an earlier run that was not finished. Without one, keys of which there are several
    are told apart by their numbers: a new key has the next one.
    """
    found: dict[str, Key] = {}
    first = next(iter(nodes.values()))
    for node, held in nodes.items():
        for key in held.keys:
            if found.setdefault(key.name, key) != key:
                raise Refused(f"its {key.name} is another key than on other nodes", node=node, hint=_BY_HAND)
        if (held.rest, held.resources) != (first.rest, first.resources):
            raise Refused("its encryption configuration differs from the other nodes'", node=node, hint=_BY_HAND)
    alike = len({held.names for held in nodes.values()}) == 1
    if target in found:
        new = found[target]
    elif len(found) == 1 and alike:
        made = Key(_next({*found, *first.others}), base64.b64encode(secrets.token_bytes(32)).decode())
        return Rotation(made, tuple(found.values()), begun=False)
    else:
        new = found[max(found, key=_number)]
        if _number(new.name) < 0 or sum(_number(name) == _number(new.name) for name in found) > 1:
            raise Refused(f"it is not known which of {', '.join(found)} is the newest key", hint=_BY_HAND)
    return Rotation(new, tuple(key for key in found.values() if key != new), begun=True)


_BY_HAND = "Look: cpkit encryption status. Nothing was changed."


def _number(name: str) -> int:
    found = NUMBERED.match(name)
    return int(found[1]) if found else -1


def _next(names: Iterable[str]) -> str:
    return f"key{max(0, *map(_number, names)) + 1}"
