"""What the role tells the program on its node."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PKI = "/etc/kubernetes/pki/etcd"


@dataclass(frozen=True)
class Settings:
    """The schedule of a cluster, as one of its nodes has it."""

    cluster: str
    node: str
    calendar: str
    store: str
    recipients: tuple[str, ...]
    keep: Mapping[str, int]  # the fields of a retention policy
    nodes: Mapping[str, str]  # node -> address, of the whole control plane
    endpoint: str  # HOST:PORT of the API
    members: Mapping[str, str]  # node -> HOST:PORT of its etcd member; the node's own is on loopback
    files: Mapping[str, str]  # file of the node -> the part of a backup it becomes
    components: Mapping[str, str]  # component -> the link that selects its version
    versions: Mapping[str, str]  # that the inventory asks for
    inventory: str  # a JSON file that holds the inventory, by part
    without: tuple[str, ...] = ()  # what was left out of it, and why
    cpkit: str = ""
    jitter: int = 0
    authority: str = f"{PKI}/ca.crt"
    certificate: str = f"{PKI}/healthcheck-client.crt"
    key: str = f"{PKI}/healthcheck-client.key"
    ssh_key: str = ""
    s3_credentials: str = "/etc/cpkit/backup-s3.json"
    state: str = "/var/lib/cpkit/backup"
    metrics: str = ""
    lease: int = 15  # seconds until the lock of a node that died is free
    more: Mapping[str, object] = field(default_factory=dict)  # of a newer cpkit


def read(path: Path) -> Settings:
    """The settings in a file; what this program does not know is kept aside."""
    told = json.loads(path.read_text(encoding="utf-8"))
    known = {name: told.pop(name) for name in Settings.__dataclass_fields__ if name in told and name != "more"}
    for name in ("recipients", "without"):
        known[name] = tuple(known.get(name, ()))
    return Settings(**known, more=told)
