"""The hops that lead to a node: the inventory's word first, then ~/.ssh/config."""

import getpass
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpkit.errors import UsageError

if TYPE_CHECKING:
    from cpkit.inventory import SshTarget

Lookup = Callable[[str], Mapping[str, Any]]

MAX_JUMPS = 8
SSH_PORT = 22
_JUMP = re.compile(r"^(?:ssh://)?(?:(?P<user>[^@]+)@)?(?:\[(?P<bracketed>[^]]+)\]|(?P<host>[^:]+))(?::(?P<port>\d+))?$")
_DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_DEFAULT_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts")


@dataclass(frozen=True)
class Hop:
    """One SSH server on the way to a node; the last one is the node."""

    host: str
    port: int
    user: str
    key_files: tuple[Path, ...]
    key_named: bool  # the inventory names the key: only that one is tried
    known_hosts: tuple[Path, ...]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def route(target: "SshTarget", lookup: Lookup) -> tuple[Hop, ...]:
    """Every hop to a target, in the order they are dialled."""
    options = _options(target.host, lookup)
    jumps = target.proxy_jump or options.get("proxyjump", "none")
    node = Hop(
        host=options.get("hostname", target.host),
        port=target.port if target.port not in (0, SSH_PORT) else int(options.get("port", SSH_PORT)),
        user=target.user or options.get("user", "") or getpass.getuser(),
        key_files=(target.key_file.expanduser(),) if target.key_file else _key_files(options),
        key_named=target.key_file is not None,
        known_hosts=_known_hosts(options, target.known_hosts),
    )
    return (*_jumps(jumps, lookup, target.known_hosts, MAX_JUMPS), node)


def read_config(path: Path) -> Lookup:
    """How to look a host up in an OpenSSH client configuration; one that does not exist says nothing."""
    if not path.is_file():
        return lambda _host: {}
    from paramiko import SSHConfig
    from paramiko.ssh_exception import SSHException

    try:
        return SSHConfig.from_path(str(path)).lookup
    except (SSHException, OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _jumps(jumps: str, lookup: Lookup, pinned: Path | None, depth: int) -> tuple[Hop, ...]:
    if not jumps or jumps.lower() == "none":
        return ()
    if depth == 0:
        raise UsageError(f"ProxyJump {jumps!r} leads through more than {MAX_JUMPS} hosts; does it lead to itself?")
    first, *rest = (_jump(text.strip(), lookup, pinned) for text in jumps.split(","))
    # As in OpenSSH, only the first host of a chain is reached as its own configuration says.
    alias = _parse_jump(jumps.split(",")[0].strip())[1]
    earlier = _options(alias, lookup).get("proxyjump", "none")
    return (*_jumps(earlier, lookup, pinned, depth - 1), first, *rest)


def _jump(text: str, lookup: Lookup, pinned: Path | None) -> Hop:
    user, alias, port = _parse_jump(text)
    options = _options(alias, lookup)
    return Hop(
        host=options.get("hostname", alias),
        port=port or int(options.get("port", SSH_PORT)),
        user=user or options.get("user", "") or getpass.getuser(),
        key_files=_key_files(options),
        key_named=False,
        known_hosts=_known_hosts(options, pinned),
    )


def _parse_jump(text: str) -> tuple[str, str, int]:
    match = _JUMP.match(text)
    if match is None:
        raise UsageError(f"ProxyJump {text!r} is not [user@]host[:port]")
    return match["user"] or "", match["bracketed"] or match["host"], int(match["port"] or 0)


def _options(host: str, lookup: Lookup) -> Mapping[str, Any]:
    options = lookup(host)
    if options.get("proxycommand", "none") not in ("none", None):
        hint = "Say the same with ProxyJump, there or in ansible_ssh_common_args."
        raise UsageError(f"~/.ssh/config reaches {host} by a ProxyCommand, which is not supported", hint=hint)
    return options


def _key_files(options: Mapping[str, Any]) -> tuple[Path, ...]:
    return tuple(Path(name).expanduser() for name in options.get("identityfile", _DEFAULT_KEYS))


def _known_hosts(options: Mapping[str, Any], pinned: Path | None) -> tuple[Path, ...]:
    named = options.get("userknownhostsfile", "").split() or _DEFAULT_KNOWN_HOSTS
    first = (pinned.expanduser(),) if pinned else ()
    return (*first, *(Path(name).expanduser() for name in named))
