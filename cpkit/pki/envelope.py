"""A value in etcd as the API server's secretbox provider keeps it: `k8s:enc:secretbox:v1:KEY:`, a nonce, and the box.

Source: k8s.io/apiserver/pkg/storage/value/encrypt/secretbox.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cpkit.pki.encryption import PROVIDER, Key

if TYPE_CHECKING:
    from nacl.secret import SecretBox

MARK = b"k8s:enc:"
HEAD = MARK + PROVIDER.encode() + b":v1:"


@dataclass(frozen=True)
class Resealer:
    """Opens what is under any of its keys, or in the clear, and seals it under the new one."""

    new: str
    boxes: Mapping[str, "SecretBox"] = field(repr=False)

    def reseal(self, value: bytes) -> bytes | None:
        """The same content under the new key; None for a value that none of the keys opens."""
        if (content := self._opened(value)) is None:
            return None
        return b"%s%s:%s" % (HEAD, self.new.encode(), self.boxes[self.new].encrypt(content))

    def _opened(self, value: bytes) -> bytes | None:
        from nacl.exceptions import CryptoError

        if not value.startswith(MARK):
            return value
        name, _, sealed = value.removeprefix(HEAD).partition(b":")
        box = self.boxes.get(name.decode("utf-8", "replace")) if value.startswith(HEAD) else None
        try:
            return box.decrypt(sealed) if box else None
        except (CryptoError, ValueError):
            return None


def resealer(new: Key, old: Sequence[Key]) -> Resealer:
    """From all keys there are to the new one."""
    from nacl.secret import SecretBox

    return Resealer(new.name, {key.name: SecretBox(base64.b64decode(key.secret)) for key in (*old, new)})
