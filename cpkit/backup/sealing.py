"""Encryption of a whole backup: the age format, so that `age -d` opens it without cpkit."""

import re
from typing import TYPE_CHECKING, Protocol

from cpkit.backup.errors import BackupError, DamagedBackup, WrongKey
from cpkit.backup.keys import Identities, Opening, Passphrase, Sealing, private, public
from cpkit.backup.streams import chunks

if TYPE_CHECKING:
    from cpkit.backup.streams import Passed, Pulled

MAGIC = b"age-encryption.org/v1\n"


class _Failed(Protocol):
    error: BaseException | None


def seal(source: "Pulled", target: "Passed", key: Sealing) -> None:
    """Everything of the source to the target, encrypted unless there is no key."""
    if key is None:
        for data in chunks(source):
            target.write(data)
        return
    import pyrage

    from cpkit.backup import scrypt, x25519

    try:
        if isinstance(key, Passphrase):
            scrypt.encrypt(source, target, key.text)
        elif all(each.startswith(x25519.PREFIX) for each in key.keys):
            x25519.encrypt(source, target, key.keys)
        else:
            pyrage.encrypt_io(source, target, [public(each) for each in key.keys])  # type: ignore[arg-type]
        _raise_cause("", source, target)
    except pyrage.EncryptError as error:
        _raise_cause(str(error), source, target)
        raise BackupError(f"the backup cannot be encrypted: {error}") from error


def unseal(source: "Passed", target: "Passed", key: Opening, name: str) -> None:
    """Everything of the source to the target, decrypted unless there is no key; DamagedBackup when it was changed."""
    import pyrage

    from cpkit.backup import age, scrypt

    try:
        if key is None:
            for data in chunks(source):
                target.write(data)
        elif isinstance(key, Passphrase):
            scrypt.decrypt(source, target, key.text)
        else:
            _unseal(source, target, key)
    except scrypt.NotOpened:
        raise WrongKey(f"the passphrase does not open {name}", hint="It was taken with another one.") from None
    except age.Broken as error:
        raise DamagedBackup(f"{name} is damaged: {error}") from None
    except (pyrage.DecryptError, OSError) as error:
        _raise_cause(str(error), source, target)
        if re.search("no matching keys", str(error), re.IGNORECASE):
            hint = "Give the identity of one of its recipients; they are in: cpkit backup show"
            raise WrongKey(f"the identity does not open {name}", hint=hint) from None
        raise DamagedBackup(f"{name} is damaged: {_words(error)}") from None


def _unseal(source: "Passed", target: "Passed", key: Identities) -> None:
    import pyrage

    pyrage.decrypt_io(source, target, private(key))  # type: ignore[arg-type]


def _raise_cause(told: str, *ends: _Failed) -> None:
    """What went wrong at an end, of which the library in the middle tells the text, or of the last write nothing."""
    for end in ends:
        if end.error is not None:
            raise end.error
    if told.startswith(KeyboardInterrupt.__name__):  # it struck as an end was being entered or left
        raise KeyboardInterrupt


def _words(error: Exception) -> str:
    text = str(error)
    if "fill whole buffer" in text:
        return "it ends within its header"
    return "it was changed, or is cut off" if text == "decryption error" else text
