"""One run of ansible-playbook: what it is given."""

import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpkit.errors import CpkitError
from cpkit.paths import ansible_root


@dataclass(frozen=True)
class Play:
    """One run of ansible-playbook."""

    playbook: str
    inventory: Path
    check: bool = False
    diff: bool = False
    limit: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    become_password: str = field(default="", repr=False)


def argv(play: Play) -> list[str]:
    """The arguments of ansible-playbook, after its name; never a secret."""
    words = ["--inventory", str(play.inventory), str(ansible_root() / "playbooks" / play.playbook)]
    words += ["--check"] if play.check else []
    words += ["--diff"] if play.diff else []
    words += ["--limit", play.limit] if play.limit else []
    for name, value in play.variables.items():
        words += ["--extra-vars", json.dumps({name: value})]
    return words


def equivalent(play: Play) -> str:
    """The line that does the same without cpkit."""
    ask = ["--ask-become-pass"] if play.become_password else []
    line = shlex.join(["ansible-playbook", *argv(play), *ask])
    return f"ANSIBLE_CONFIG={shlex.quote(str(configuration()))} {line}"


def program() -> str:
    """Where ansible-playbook is; it belongs beside cpkit. CpkitError when it is nowhere."""
    beside = Path(sys.executable).with_name("ansible-playbook")
    found = str(beside) if beside.is_file() else shutil.which("ansible-playbook")
    if not found:
        raise CpkitError(
            "ansible-playbook is not installed beside cpkit",
            hint="It comes with cpkit; install cpkit anew, for example: pipx reinstall cpkit",
        )
    return found


def configuration() -> Path:
    """Ansible's own configuration file."""
    return ansible_root() / "playbooks" / "ansible.cfg"
