"""Keys that seal a backup, and keys that open one; secret ones are never shown."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cpkit.backup.errors import BackupError
from cpkit.errors import UsageError

if TYPE_CHECKING:
    from pyrage import ssh, x25519

MAKE_ONE = "Make a key with: cpkit backup key FILE. What it prints is the recipient."


@dataclass(frozen=True)
class Passphrase:
    """A passphrase; seals and opens."""

    text: str = field(repr=False)


@dataclass(frozen=True)
class Recipients:
    """Public keys a backup is sealed for: `age1…`, or an SSH public key."""

    keys: tuple[str, ...]


@dataclass(frozen=True)
class Identities:
    """Private keys, as the lines of an age identity file or one SSH private key."""

    text: str = field(repr=False)
    name: str  # the file's, for messages


Sealing = Passphrase | Recipients | None  # None: in the clear
Opening = Passphrase | Identities | None


def recipients(lines: "tuple[str, ...] | list[str]") -> Recipients:
    """Public keys, each once; UsageError names the one that is none."""
    found = tuple(dict.fromkeys(line.strip() for line in lines if line.strip() and not line.strip().startswith("#")))
    for key in found:
        public(key)
    if not found:
        raise UsageError("no recipient is named", hint=MAKE_ONE)
    return Recipients(found)


def public(key: str) -> "x25519.Recipient | ssh.Recipient":
    """A public key as age's library has it."""
    import pyrage

    if key.startswith("AGE-SECRET-KEY-"):
        raise UsageError("a private key was given where a recipient belongs", hint="The public half begins with age1.")
    try:
        if key.startswith("ssh-"):
            return pyrage.ssh.Recipient.from_str(key)
        return pyrage.x25519.Recipient.from_str(key)
    except pyrage.RecipientError as error:
        raise UsageError(f"{key!r} is no recipient: {error}", hint=MAKE_ONE) from None


def private(identities: Identities) -> "list[x25519.Identity | ssh.Identity]":
    """The private keys of a file as age's library has them."""
    import pyrage

    lines = [line.strip() for line in identities.text.splitlines()]
    try:
        if "-----BEGIN " in identities.text:
            return [pyrage.ssh.Identity.from_buffer(identities.text.encode())]
        return [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError as error:
        hint = "It holds lines that begin with AGE-SECRET-KEY-1, or is an SSH private key without a passphrase."
        raise UsageError(f"{identities.name} is no identity that can be used: {error}", hint=hint) from None


def publics(identities: Identities) -> tuple[str, ...]:
    """The recipients that these private keys open for; UsageError for SSH keys, which do not tell theirs here."""
    found = tuple(str(each.to_public()) for each in private(identities) if hasattr(each, "to_public"))
    if not found:
        raise UsageError(f"{identities.name} does not tell its public half", hint=MAKE_ONE)
    return found


def read_identities(path: Path) -> Identities:
    """The private keys in a file."""
    identities = Identities(_read(path), str(path))
    if not private(identities):
        raise UsageError(f"{path} holds no identity", hint=MAKE_ONE)
    return identities


def read_recipients(path: Path) -> list[str]:
    """The public keys in a file, one a line."""
    return _read(path).splitlines()


def read_passphrase(path: Path) -> Passphrase:
    """The first line of a file."""
    text = _read(path).split("\n", 1)[0].rstrip("\r")
    if not text:
        raise UsageError(f"{path} holds no passphrase; it is the first line")
    return Passphrase(text)


def make_identity(path: Path) -> str:
    """Write a new private key to a file only its owner may read, and return the recipient; never over another file."""
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    recipient = str(identity.to_public())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} is there already, and stays as it is", hint="Choose another name.") from None
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"# public key: {recipient}\n{identity}\n")
        file.flush()
        os.fsync(file.fileno())
    return recipient


def label(key: str) -> str:
    """A public key in short: SSH keys by their kind and comment."""
    match = re.match(r"(ssh-\S+) \S+(?: (.+))?", key)
    return f"{match[1]} {match[2] or ''}".strip() if match else key


def _read(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text file") from None
