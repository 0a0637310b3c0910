"""The age format with a passphrase, as a stream: pyrage does that in memory alone.

The format is https://age-encryption.org/v1; only what a passphrase needs is here, one stanza and the payload. What is
written here is read by every age, and the other way round.
"""

import base64
import hmac
import os
import re
import unicodedata
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cpkit.backup.streams import Readable, Writable

CHUNK, TAG = 1 << 16, 16
WORK, MOST_WORK = 18, 22  # powers of two; age's own for writing, and the most it takes in reading
LABEL = b"age-encryption.org/v1/scrypt"
LONGEST_HEADER = 4096
_HEADER = re.compile(
    rb"age-encryption\.org/v1\n-> scrypt (?P<salt>[A-Za-z0-9+/]{22}) (?P<work>[1-9][0-9]?)\n"
    rb"(?P<wrapped>[A-Za-z0-9+/]{43})\n---"
)


class Broken(Exception):
    """The stream was changed, or ends too early."""


class NotOpened(Exception):
    """The passphrase is another."""


def encrypt(source: "Readable", target: "Writable", passphrase: str) -> None:
    """Everything of the source to the target, encrypted."""
    file_key, salt = os.urandom(16), os.urandom(16)
    wrapped = ChaCha20Poly1305(_wrapping_key(passphrase, salt, WORK)).encrypt(bytes(12), file_key, None)
    header = b"age-encryption.org/v1\n-> scrypt %s %d\n%s\n---" % (_text(salt), WORK, _text(wrapped))
    nonce = os.urandom(16)
    target.write(b"%s %s\n%s" % (header, _text(_mac(file_key, header)), nonce))
    cipher = _payload(file_key, nonce)
    for number, (chunk, last) in enumerate(_chunks(source, CHUNK)):
        target.write(cipher.encrypt(_nonce(number, last=last), chunk, None))


def decrypt(source: "Readable", target: "Writable", passphrase: str) -> None:
    """Everything of the source to the target, decrypted; whether it is whole is known when this returns."""
    header, mac = _read_header(source)
    match = _HEADER.fullmatch(header)
    if match is None or int(match["work"]) > MOST_WORK:
        raise Broken("its header is not one of age with a passphrase")
    wrapping = ChaCha20Poly1305(_wrapping_key(passphrase, _bytes(match["salt"]), int(match["work"])))
    try:
        file_key = wrapping.decrypt(bytes(12), _bytes(match["wrapped"]), None)
    except InvalidTag:
        raise NotOpened from None
    if not hmac.compare_digest(_mac(file_key, header), mac):
        raise Broken("its header was changed")
    cipher = _payload(file_key, _exactly(source, 16))
    for number, (chunk, last) in enumerate(_chunks(source, CHUNK + TAG)):
        try:
            target.write(cipher.decrypt(_nonce(number, last=last), chunk, None))
        except InvalidTag:
            raise Broken(f"it was changed or cut off after {number * CHUNK} bytes") from None


def _read_header(source: "Readable") -> tuple[bytes, bytes]:
    """The header up to its MAC, and the MAC."""
    text = b""
    while not (found := re.search(rb"\n--- ([A-Za-z0-9+/]{43})\n", text)):
        byte = source.read(1)
        text += byte
        if not byte or len(text) > LONGEST_HEADER:
            raise Broken("it has no header of age")
    return text[: found.start() + 4], _bytes(found[1])


def _chunks(source: "Readable", size: int) -> "Iterator[tuple[bytes, bool]]":
    """Pieces of one size, and whether it is the last, which may be shorter."""
    held = _upto(source, size)
    while following := (_upto(source, size) if len(held) == size else b""):
        yield held, False
        held = following
    yield held, True


def _upto(source: "Readable", size: int) -> bytes:
    parts = []
    while size and (data := source.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _exactly(source: "Readable", size: int) -> bytes:
    data = _upto(source, size)
    if len(data) < size:
        raise Broken("it ends within its header")
    return data


def _wrapping_key(passphrase: str, salt: bytes, work: int) -> bytes:
    normal = unicodedata.normalize("NFKC", passphrase).encode()
    return Scrypt(salt=LABEL + salt, length=32, n=1 << work, r=8, p=1).derive(normal)


def _mac(file_key: bytes, header: bytes) -> bytes:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"header").derive(file_key)
    return hmac.digest(key, header, "sha256")


def _payload(file_key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(algorithm=SHA256(), length=32, salt=nonce, info=b"payload").derive(file_key))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _text(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _bytes(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4))
