"""Hand the key of a backup to another process."""

from collections.abc import Iterator
from contextlib import contextmanager

from cpkit.backup.keys import Identities, Opening, Passphrase
from cpkit.handing import handed, received


@contextmanager
def handed_key(key: Opening) -> Iterator[int]:
    """A descriptor that leads to the key, for as long as the context lasts."""
    if isinstance(key, Passphrase):
        body = {"kind": "passphrase", "text": key.text}
    elif isinstance(key, Identities):
        body = {"kind": "identities", "text": key.text, "name": key.name}
    else:
        body = {"kind": "none"}
    with handed(body) as descriptor:
        yield descriptor


def received_key(descriptor: int) -> Opening:
    """The key behind an inherited descriptor; CpkitError when there is none."""
    body = received(descriptor, "key of a backup")
    kind, text = body.get("kind"), body.get("text", "")
    if kind == "passphrase":
        return Passphrase(text)
    return Identities(text, body.get("name", "the identity")) if kind == "identities" else None
