"""Sandboxes: a backup served by a throw-away etcd and API server on this machine, in memory, for a short while.

Nothing of it touches a disk, nobody else can reach it, it reaches out to nobody, and it dies with cpkit.
"""

from cpkit.backup.sandbox.api import Api, Object, Resource
from cpkit.backup.sandbox.apiserver import apiserver, complaint
from cpkit.backup.sandbox.ground import Ground, Prepared, ground, prepare
from cpkit.backup.sandbox.member import Member, laying, member

__all__ = [
    "Api",
    "Ground",
    "Member",
    "Object",
    "Prepared",
    "Resource",
    "apiserver",
    "complaint",
    "ground",
    "laying",
    "member",
    "prepare",
]
