"""The age format with a passphrase, as a stream: pyrage does that in memory alone."""

import hmac
import os
import re
import unicodedata
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from cpkit.backup import age

if TYPE_CHECKING:
    from cpkit.backup.streams import Readable, Writable

WORK, MOST_WORK = 18, 22  # powers of two; age's own for writing, and the most it takes in reading
LABEL = b"age-encryption.org/v1/scrypt"
LONGEST_HEADER = 4096
_HEADER = re.compile(
    rb"age-encryption\.org/v1\n-> scrypt (?P<salt>[A-Za-z0-9+/]{22}) (?P<work>[1-9][0-9]?)\n"
    rb"(?P<wrapped>[A-Za-z0-9+/]{43})\n---"
)


class NotOpened(Exception):
    """The passphrase is another."""


def encrypt(source: "Readable", target: "Writable", passphrase: str) -> None:
    """Everything of the source to the target, encrypted."""
    file_key, salt = os.urandom(age.FILE_KEY), os.urandom(16)
    wrapped = ChaCha20Poly1305(_wrapping_key(passphrase, salt, WORK)).encrypt(bytes(12), file_key, None)
    age.write(source, target, file_key, b"-> scrypt %s %d\n%s\n" % (age.text(salt), WORK, age.text(wrapped)))


def decrypt(source: "Readable", target: "Writable", passphrase: str) -> None:
    """Everything of the source to the target, decrypted; whether it is whole is known when this returns."""
    header, mac = _read_header(source)
    match = _HEADER.fullmatch(header)
    if match is None or int(match["work"]) > MOST_WORK:
        raise age.Broken("its header is not one of age with a passphrase")
    wrapping = ChaCha20Poly1305(_wrapping_key(passphrase, age.unread(match["salt"]), int(match["work"])))
    try:
        file_key = wrapping.decrypt(bytes(12), age.unread(match["wrapped"]), None)
    except InvalidTag:
        raise NotOpened from None
    if not hmac.compare_digest(age.mac(file_key, header), mac):
        raise age.Broken("its header was changed")
    age.read_payload(source, target, file_key)


def _read_header(source: "Readable") -> tuple[bytes, bytes]:
    """The header up to its MAC, and the MAC."""
    text = b""
    while not (found := re.search(rb"\n--- ([A-Za-z0-9+/]{43})\n", text)):
        byte = source.read(1)
        text += byte
        if not byte or len(text) > LONGEST_HEADER:
            raise age.Broken("it has no header of age")
    return text[: found.start() + 4], age.unread(found[1])


def _wrapping_key(passphrase: str, salt: bytes, work: int) -> bytes:
    normal = unicodedata.normalize("NFKC", passphrase).encode()
    return Scrypt(salt=LABEL + salt, length=32, n=1 << work, r=8, p=1).derive(normal)
