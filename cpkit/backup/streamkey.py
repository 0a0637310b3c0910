"""The key of a stream that has a passphrase: made once, and kept in the store sealed with it."""

import io

from cpkit.backup.keys import Passphrase
from cpkit.backup.sealing import seal, unseal
from cpkit.backup.streams import Passed, Pulled


def new_key(passphrase: Passphrase) -> tuple[bytes, str]:
    """A new private key, sealed, and the recipient that belongs to it."""
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    target = io.BytesIO()
    sealed = Passed(target=target)
    seal(Pulled([f"{identity}\n".encode()]), sealed, passphrase)
    sealed.settle()
    return target.getvalue(), str(identity.to_public())


def open_key(data: bytes, passphrase: Passphrase, name: str) -> str:
    """The private key; WrongKey when the passphrase is another one."""
    target = io.BytesIO()
    plain = Passed(target=target)
    unseal(Passed(source=io.BytesIO(data)), plain, passphrase, name)
    plain.settle()
    return target.getvalue().decode()
