"""What every file of the age format has, whoever it is sealed for: a header that ends in a MAC, and the payload.

The format is https://age-encryption.org/v1. What is written here is read by every age, and the other way round.
"""

import base64
import hmac
import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cpkit.backup.streams import chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cpkit.backup.streams import Readable, Writable

CHUNK, TAG = 1 << 16, 16
FILE_KEY = 16


class Broken(Exception):
    """The stream was changed, or ends too early."""


def write(source: "Readable", target: "Writable", file_key: bytes, stanzas: bytes) -> None:
    """Everything of the source to the target, sealed with a file key that the stanzas hold for who may open it."""
    header = b"age-encryption.org/v1\n" + stanzas + b"---"
    nonce = os.urandom(16)
    target.write(b"%s %s\n%s" % (header, text(mac(file_key, header)), nonce))
    cipher = _payload(file_key, nonce)
    for number, (chunk, last) in enumerate(_sized(source, CHUNK)):
        target.write(cipher.encrypt(_nonce(number, last=last), chunk, None))


def read_payload(source: "Readable", target: "Writable", file_key: bytes) -> None:
    """What follows the header, opened; whether it is whole is known when this returns."""
    cipher = _payload(file_key, exactly(source, 16))
    for number, (chunk, last) in enumerate(_sized(source, CHUNK + TAG)):
        try:
            target.write(cipher.decrypt(_nonce(number, last=last), chunk, None))
        except InvalidTag:
            raise Broken(f"it was changed or cut off after {number * CHUNK} bytes") from None


def mac(file_key: bytes, header: bytes) -> bytes:
    """What proves that a header is of who knew the file key."""
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"header").derive(file_key)
    return hmac.digest(key, header, "sha256")


def exactly(source: "Readable", size: int) -> bytes:
    """So many bytes; Broken when there are fewer."""
    parts = []
    while size and (data := source.read(size)):
        parts.append(data)
        size -= len(data)
    if size:
        raise Broken("it ends within its header")
    return b"".join(parts)


def text(data: bytes) -> bytes:
    """Bytes as headers hold them."""
    return base64.b64encode(data).rstrip(b"=")


def unread(data: bytes) -> bytes:
    """The bytes of a header's text."""
    return base64.b64decode(data + b"=" * (-len(data) % 4))


def _sized(source: "Readable", size: int) -> "Iterator[tuple[memoryview, bool]]":
    """Pieces of one size, and whether it is the last, which may be shorter: which is the last is known at the end."""
    held = b""
    for data in chunks(source):
        missing = size - len(held)
        if len(data) <= missing:
            held += data
            continue
        if held:
            yield memoryview(held + data[:missing]), False
        block, begin = memoryview(data), missing if held else 0
        end = begin + (len(data) - begin - 1) // size * size
        for at in range(begin, end, size):
            yield block[at : at + size], False
        held = data[end:]
    yield memoryview(held), True


def _payload(file_key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(algorithm=SHA256(), length=32, salt=nonce, info=b"payload").derive(file_key))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
