"""How many keys each resource of Kubernetes has, without reading one value."""

from typing import Protocol

REGISTRY = b"/registry/"
OWN = b"/cpkit/"  # what the nodes keep there of what they do by themselves comes and goes beside a backup or a restore
OTHERS = "(not of Kubernetes)"
EVERYTHING = b"\0"
TWO_WORDS = (b"services",)  # /registry/services/specs and /registry/services/endpoints are two resources
MOST_RESOURCES = 10_000


class Keys(Protocol):
    """What can list and count keys at a revision."""

    def keys(self, start: bytes, end: bytes, *, revision: int, limit: int) -> tuple[bytes, ...]:
        """The first keys of a range."""

    def count(self, start: bytes, end: bytes, *, revision: int) -> int:
        """How many keys a range holds."""


def count(member: Keys, revision: int) -> dict[str, int]:
    """Keys by resource, at a revision: from one resource to the next, two small calls each."""
    found: dict[str, int] = {}
    start, end = REGISTRY, after(REGISTRY)
    while keys := member.keys(start, end, revision=revision, limit=1):
        prefix = resource(keys[0])
        start = after(prefix)
        found[prefix.decode("utf-8", "replace").removeprefix("/registry/").rstrip("/")] = member.count(
            prefix, start, revision=revision
        )
        if len(found) >= MOST_RESOURCES:
            break
    others = member.count(EVERYTHING, EVERYTHING, revision=revision) - sum(found.values())
    others -= member.count(OWN, after(OWN), revision=revision)
    return found | ({OTHERS: others} if others else {})


def resource(key: bytes) -> bytes:
    """What the keys of its resource begin with; groups have a dot in their name, and resources below them."""
    words = key.split(b"/")  # "", "registry", and the resource
    deep = len(words) > 4 and (b"." in words[2] or words[2] in TWO_WORDS)
    length = 4 if deep else 3
    return b"/".join(words[:length]) + (b"/" if len(words) > length else b"")


def after(prefix: bytes) -> bytes:
    """The end of the range of all keys that begin so."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
