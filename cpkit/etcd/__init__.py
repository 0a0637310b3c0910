"""etcd, one client a member; importing this package costs nothing until a client is made."""

from cpkit.etcd.client import MemberClient
from cpkit.etcd.errors import EtcdError, EtcdRefused, EtcdTimeout, EtcdUnavailable
from cpkit.etcd.model import Alarm, HashKV, KeyValue, Member, MemberStatus, Row
from cpkit.etcd.watch import Change, Compacted, Told, Watch

__all__ = [
    "Alarm",
    "Change",
    "Compacted",
    "EtcdError",
    "EtcdRefused",
    "EtcdTimeout",
    "EtcdUnavailable",
    "HashKV",
    "KeyValue",
    "Member",
    "MemberClient",
    "MemberStatus",
    "Row",
    "Told",
    "Watch",
]
