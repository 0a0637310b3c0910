"""SSH to the nodes, by paramiko; importing this package costs nothing until a connection is made."""

from cpkit.ssh.connection import Connection, connect
from cpkit.ssh.errors import AuthenticationFailed, CommandTimeout, HostKeyChanged, HostKeyUnknown, SudoRefused
from cpkit.ssh.fanout import fan_out
from cpkit.ssh.kept import Connect, kept
from cpkit.ssh.model import Completed

__all__ = [
    "AuthenticationFailed",
    "CommandTimeout",
    "Completed",
    "Connect",
    "Connection",
    "HostKeyChanged",
    "HostKeyUnknown",
    "SudoRefused",
    "connect",
    "fan_out",
    "kept",
]
