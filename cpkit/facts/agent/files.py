"""The files of a control plane on the node, and those that must be the same on all nodes."""
# Importing pathlib would add a tenth to the run.
# ruff: noqa: PTH110, PTH123

from __future__ import annotations

import hashlib
import os

CONFIG = "/etc/kubernetes"
PKI = CONFIG + "/pki"
BALANCER_CA = "/etc/haproxy/kubernetes-ca.crt"
COMPARED = [
    *(PKI + name for name in ("/ca.crt", "/front-proxy-ca.crt", "/etcd/ca.crt", "/sa.pub")),
    CONFIG + "/encryption.yaml",
    BALANCER_CA,
]


def read(path: str) -> bytes:
    """The file's bytes."""
    with open(path, "rb") as file:
        return file.read()


def text_of(path: str) -> str:
    """What a file says; empty if it cannot be read."""
    try:
        return read(path).decode("utf-8", "replace")
    except OSError:
        return ""


def digest(data: bytes) -> str:
    """SHA-256 as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def compared_files() -> dict[str, str]:
    """Digests of the files that must be the same on all nodes."""
    return {path: digest(read(path)) for path in COMPARED if os.path.exists(path)}
