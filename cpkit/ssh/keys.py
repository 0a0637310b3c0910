"""The private keys offered to a host, in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko

from cpkit.errors import Unreachable
from cpkit.ssh.errors import AuthenticationFailed
from cpkit.ssh.route import Hop


@dataclass(frozen=True)
class Candidate:
    """A key, and what to call it in a message."""

    label: str
    key: paramiko.PKey


class _Encrypted(Exception):
    """A key file needs a passphrase."""


def candidates(hop: Hop) -> Iterator[Candidate]:
    """The key the inventory names, alone; else those of the agent, then the key files that exist.

    A named key that is encrypted is looked for in the agent.
    """
    if hop.key_named:
        yield from _named(hop.key_files[0])
        return
    yield from _agent()
    for path in hop.key_files:
        if path.is_file():
            try:
                yield Candidate(str(path), _load(path))
            except (_Encrypted, AuthenticationFailed):
                continue  # another key may do; what was tried is in the error if none does


def _named(path: Path) -> Iterator[Candidate]:
    try:
        yield Candidate(str(path), _load(path))
    except _Encrypted:
        held = False
        for candidate in _agent():
            if _belongs(candidate.key, path):
                held = True
                yield candidate
        if not held:
            hint = f"Load it into an agent first: ssh-add {path}"
            raise AuthenticationFailed(f"the key file {path} is encrypted, and no agent holds it", hint=hint) from None


def _load(path: Path) -> paramiko.PKey:
    try:
        key: paramiko.PKey = paramiko.PKey.from_path(path)
    except FileNotFoundError:
        raise AuthenticationFailed(f"the key file {path} does not exist", hint=_NAMED_BY) from None
    except OSError as error:
        raise AuthenticationFailed(f"the key file {path} cannot be read: {error.strerror}", hint=_NAMED_BY) from error
    except (paramiko.PasswordRequiredException, TypeError):
        raise _Encrypted from None
    except (paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError) as error:
        if "password" in str(error).lower():
            raise _Encrypted from None
        raise AuthenticationFailed(f"{path} is not a private key that can be used", hint=str(error)) from error
    return key


def _agent() -> Iterator[Candidate]:
    try:
        agent = paramiko.Agent()
        keys = agent.get_keys()
    except (paramiko.SSHException, OSError) as error:
        raise Unreachable(f"the SSH agent does not answer: {error}", hint="Is SSH_AUTH_SOCK stale?") from error
    try:
        for key in keys:
            yield Candidate(f"agent key {key.comment or key.get_name()}", key)
    finally:
        agent.close()


def _belongs(key: paramiko.PKey, path: Path) -> bool:
    """Whether an agent's key is the file's; any may be when its public half does not lie beside it."""
    public = path.with_name(f"{path.name}.pub")
    return not public.is_file() or key.get_base64() in public.read_text(encoding="utf-8", errors="replace")


_NAMED_BY = "The inventory names it: ansible_ssh_private_key_file."
