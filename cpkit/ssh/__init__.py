"""SSH to the nodes, by paramiko; importing this package costs nothing until a connection is made."""

from typing import TYPE_CHECKING

from cpkit.ssh.connection import Connection
from cpkit.ssh.errors import AuthenticationFailed, CommandTimeout, HostKeyChanged, HostKeyUnknown, SudoRefused
from cpkit.ssh.fanout import fan_out
from cpkit.ssh.model import Completed

if TYPE_CHECKING:
    from cpkit.inventory import Node

__all__ = [
    "AuthenticationFailed",
    "CommandTimeout",
    "Completed",
    "Connection",
    "HostKeyChanged",
    "HostKeyUnknown",
    "SudoRefused",
    "connect",
    "fan_out",
]


def connect(node: "Node", *, timeout: float = 5.0) -> Connection:
    """A connection to a node, through its jump hosts; Unreachable, with the reason and a hint, if there is none."""
    from cpkit.ssh.dial import dial

    return Connection(node, dial(node, timeout))
