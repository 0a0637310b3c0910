"""Sidecars of backups that nobody took, for what is judged by them alone."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from cpkit.backup.manifest import Sidecar, Verification
from cpkit.backup.naming import Name


def sidecar(created: datetime, revision: int, **changes: Any) -> Sidecar:
    """One of cluster prod, proven in the store when it was taken; and what a test wants to be otherwise."""
    name = str(Name("prod", created, revision))
    usual = Sidecar(
        name=name,
        object=f"{name}.cpkit",
        size=4,
        sha256="a" * 64,
        manifest="b" * 64,
        encryption="none",
        cluster="prod",
        cluster_id="c1",
        created=created,
        kubernetes="1.36.3",
        etcd="3.6.16",
        storage_version="3.6.0",
        revision=revision,
        keys=3,
        quorum=True,
        node="cp1",
        verified=(Verification(created, "stored", "a test"),),
    )
    return replace(usual, **changes)
