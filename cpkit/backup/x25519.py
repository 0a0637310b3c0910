"""The age format for its own kind of recipients, in large pieces; opening, and sealing for SSH keys, are pyrage's.

pyrage asks for eight kilobytes at a time, and takes three times as long.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cpkit.backup import age

if TYPE_CHECKING:
    from cpkit.backup.streams import Readable, Writable

PREFIX = "age1"
DIGITS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # of Bech32, by value
CHECKSUM = 6  # digits at the end, which pyrage has checked
LABEL = b"age-encryption.org/v1/X25519"


def encrypt(source: "Readable", target: "Writable", recipients: Sequence[str]) -> None:
    """Everything of the source to the target, for recipients that pyrage takes for such."""
    file_key = os.urandom(age.FILE_KEY)
    age.write(source, target, file_key, b"".join(_stanza(each, file_key) for each in recipients))


def _stanza(recipient: str, file_key: bytes) -> bytes:
    public = _public(recipient)
    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    wrapping = HKDF(algorithm=SHA256(), length=32, salt=share + public, info=LABEL).derive(shared)
    wrapped = ChaCha20Poly1305(wrapping).encrypt(bytes(12), file_key, None)
    return b"-> X25519 %s\n%s\n" % (age.text(share), age.text(wrapped))


def _public(recipient: str) -> bytes:
    """The 256 bits of a recipient, which 52 digits of 5 hold with 4 to spare."""
    value = 0
    for digit in recipient.lower().removeprefix(PREFIX)[:-CHECKSUM]:
        value = value << 5 | DIGITS.index(digit)
    return (value >> 4).to_bytes(32, "big")
