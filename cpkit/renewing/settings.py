"""What the role tells the program on its node."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ETCD = "/etc/kubernetes/pki/etcd"


@dataclass(frozen=True)
class Leaf:
    """Where a leaf lies, who signs it, and where it is served; `key` is empty where a kubeconfig embeds both."""

    name: str
    certificate: str
    key: str
    authority: str
    authority_key: str
    port: str = ""


@dataclass(frozen=True)
class Settings:
    """How a node renews its leaves."""

    cluster: str
    node: str
    address: str
    calendar: str
    key_type: str
    leaf_days: int
    members: Mapping[str, str]  # node -> HOST:PORT of its etcd member; the node's own is on loopback
    leaves: tuple[Leaf, ...]
    authority: str = f"{ETCD}/ca.crt"
    certificate: str = f"{ETCD}/healthcheck-client.crt"
    key: str = f"{ETCD}/healthcheck-client.key"
    state: str = "/var/lib/cpkit/renewal"
    metrics: str = ""
    lease: int = 15  # seconds until the lock of a node that died is free
    wait: float = 75.0  # seconds in which what was renewed must be in use
    more: Mapping[str, object] = field(default_factory=dict)  # of a newer cpkit


def read(path: Path) -> Settings:
    """The settings in a file; what this program does not know is kept aside."""
    told = json.loads(path.read_text(encoding="utf-8"))
    known = {name: told.pop(name) for name in Settings.__dataclass_fields__ if name in told and name != "more"}
    known["leaves"] = tuple(Leaf(**each) for each in known["leaves"])
    return Settings(**known, more=told)
