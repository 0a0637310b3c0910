"""How a node is reached, from Ansible's connection variables."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from cpkit.inventory.cluster import Node, Role, SshTarget
from cpkit.inventory.document import Tagged
from cpkit.inventory.hosts import Settings
from cpkit.inventory.problems import Place, Problems
from cpkit.inventory.values import MAX_PORT
from cpkit.inventory.variables import literal

ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")
PATHS = ("ansible_ssh_private_key_file", *ARGUMENTS)  # where {{ inventory_dir }} is understood
PASSWORDS = ("ansible_become_password", "ansible_become_pass")

_INVENTORY_DIR = re.compile(r"\{\{\s*inventory_dir\s*\}\}")
# Other spellings that Ansible understands, and cpkit's SSH does not.
_REPLACED = {
    "ansible_ssh_host": "write ansible_host",
    "ansible_ssh_port": "write ansible_port",
    "ansible_ssh_user": "write ansible_user",
    "ansible_private_key_file": "write ansible_ssh_private_key_file",
    "ansible_password": "cpkit logs in with keys only: ansible_ssh_private_key_file, or the SSH agent",
    "ansible_ssh_pass": "cpkit logs in with keys only: ansible_ssh_private_key_file, or the SSH agent",
    "ansible_ssh_password": "cpkit logs in with keys only: ansible_ssh_private_key_file, or the SSH agent",
}


class Reader:
    """Reads the connection variables of one host."""

    def __init__(self, host: str, place: Place, variables: Settings, problems: Problems) -> None:
        self._host = host
        self._place = place
        self._directory = place.file.parent
        self._variables = variables
        self._problems = problems

    def node(self, role: Role) -> Node:
        """The node; whatever is wrong is added to the problems."""
        for name, instead in _REPLACED.items():
            if name in self._variables:
                self._complain(name, f"{name} is not read; {instead}")
        connection = self._text("ansible_connection") or "ssh"
        if connection not in {"ssh", "smart"}:
            self._complain("ansible_connection", f"ansible_connection is {connection!r}; cpkit reaches nodes by ssh")
        host = self._text("ansible_host") or self._host
        return Node(name=self._host, address=self._address(host), role=role, ssh=self._target(host))

    def _address(self, host: str) -> str:
        text = self._text("node_address") or host
        try:
            return str(IPv4Address(text))
        except ValueError:
            name = next((name for name in ("node_address", "ansible_host") if name in self._variables), "")
            if not name:
                self._complain(name, f"host {self._host!r} has no address: set ansible_host to its IPv4 address")
            elif not self._variables[name].value:
                self._complain(name, f"{name} of {self._host} is empty")
            elif name == "ansible_host":
                hint = "set node_address to the address where the other nodes reach it"
                self._complain(name, f"{name} {text!r} of {self._host} is no IPv4 address; {hint}")
            else:
                self._complain(name, f"{name} {text!r} of {self._host} is no IPv4 address")
            return ""

    def _target(self, host: str) -> SshTarget:
        options = self._options()
        key = self._text("ansible_ssh_private_key_file")
        return SshTarget(
            host=host,
            port=self._port(),
            user=self._text("ansible_user"),
            key_file=Path(key).expanduser() if key else None,
            known_hosts=_first_path(options.get("userknownhostsfile", "")),
            proxy_jump=options.get("proxyjump", ""),
            become=self._become(),
            become_password=self._password(),
        )

    def _port(self) -> int:
        setting = self._variables.get("ansible_port")
        if setting is None or setting.value is None:
            return SshTarget.port
        value = setting.value
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PORT:
            self._complain("ansible_port", f"ansible_port {setting.value!r} is no port; it is 1 to {MAX_PORT}")
            return SshTarget.port
        return value

    def _become(self) -> bool:
        setting = self._variables.get("ansible_become")
        if setting is None or isinstance(setting.value, bool):
            return True if setting is None else setting.value
        if isinstance(setting.value, str) and setting.value.lower() in {"true", "yes", "on", "1"}:
            return True
        self._complain("ansible_become", f"ansible_become is true or false, not {setting.value!r}")
        return True

    def _password(self) -> str:
        for name in PASSWORDS:
            setting = self._variables.get(name)
            if setting is not None and (isinstance(setting.value, Tagged) or literal(setting)):
                self._complain(
                    name, f"{name} is encrypted or a template; leave it out, and give it with --ask-become-pass"
                )
                return ""
        return next((text for name in PASSWORDS if (text := self._text(name))), "")

    def _options(self) -> dict[str, str]:
        """OpenSSH's options in the SSH arguments, by lower-case name; the first of each name counts, as in ssh."""
        options: dict[str, str] = {}
        for name in ARGUMENTS:
            try:
                words = shlex.split(self._text(name))
            except ValueError as error:
                self._complain(name, f"{name} cannot be split into words: {error}")
                continue
            for option, value in _pairs(words):
                options.setdefault(option, value)
                if option == "proxycommand" and value.lower() != "none":
                    self._complain(name, f"{name} sets a ProxyCommand, which is not supported; use ProxyJump")
        return options

    def _text(self, name: str) -> str:
        setting = self._variables.get(name)
        if setting is None or setting.value is None:
            return ""
        if name in PATHS and isinstance(setting.value, str):
            setting = replace(setting, value=_INVENTORY_DIR.sub(lambda _: str(self._directory), setting.value))
        why = literal(setting)
        if why:
            self._complain(name, f"{name} {why}")
        elif not isinstance(setting.value, str):
            self._complain(name, f"{name} must be text; quote it")
        else:
            return setting.value
        return ""

    def _complain(self, name: str, text: str) -> None:
        setting = self._variables.get(name)
        self._problems.add(setting.place() if setting else self._place, text)


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    """What `-o Name=Value`, `-oName=Value`, `-o "Name Value"` and `-J Value` set."""
    rest = iter(words)
    for word in rest:
        flag, value = word[:2], word[2:]
        if flag == "-J":
            yield "proxyjump", value or next(rest, "")
        elif flag == "-o":
            name, _, value = (value or next(rest, "")).strip().replace("=", " ", 1).partition(" ")
            yield name.lower(), value.strip()


def _first_path(text: str) -> Path | None:
    first = text.strip('"').split()[:1]
    return Path(first[0]).expanduser() if first and first[0].lower() != "none" else None
