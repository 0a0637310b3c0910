"""The ssh command that reaches a lab's machine."""

import shlex
from collections.abc import Sequence

from cpkit.lab import store
from cpkit.lab.layout import Layout, Machine
from cpkit.lab.rendering import SSH_USER


def ssh_command(layout: Layout, machine: Machine, command: Sequence[str]) -> list[str]:
    """The argv of ssh; a command of one word is a line for the shell, one of several is taken word by word."""
    argv = ["ssh", "-i", str(store.lab_dir(layout.name) / store.KEY_NAME)]
    argv += ["-o", f"UserKnownHostsFile={store.inventory_dir(layout.name) / 'known_hosts'}"]
    argv += ["-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5"]
    argv.append(f"{SSH_USER}@{machine.address}")
    if command:
        argv += ["--", command[0] if len(command) == 1 else shlex.join(command)]
    return argv
