"""How far the authorities are replaced on the node."""
# Importing pathlib would add a tenth to the run.
# ruff: noqa: PTH110, PTH116, PTH207

from __future__ import annotations

import glob
import os
import ssl
import time

from cpkit.facts.agent.certificates import BLOCK
from cpkit.facts.agent.files import PKI, digest, read
from cpkit.facts.agent.keys import der

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from typing import Any

ROTATION = "/var/lib/cpkit/rotation"  # role authorities keeps there the old and the new ones while they are replaced
REPLACED = "/var/lib/cpkit/previous-authorities-"  # and there, by the stage, what a stage replaced on the node
AUTHORITIES = {
    "cluster": "/ca.crt",
    "etcd": "/etcd/ca.crt",
    "front_proxy": "/front-proxy-ca.crt",
    "service_account": "/sa.pub",
}
SIGNERS = (*AUTHORITIES.values(), "/sa.key")  # what a service may read but once, at its start


def rotation() -> dict[str, Any]:
    """How far authorities are replaced here, by fingerprint; and when, in seconds since the boot, each file changed."""
    booted = time.time() - time.monotonic()
    there = [PKI + name for name in SIGNERS if os.path.exists(PKI + name)]
    found: dict[str, Any] = {"changed": {path: os.stat(path).st_ctime - booted for path in there}}
    found["tokens"] = [digest(each)[:16] for each in der(PKI + "/sa.pub")]
    found["kept"] = [path[len(REPLACED) :] for path in glob.glob(REPLACED + "*")]
    for generation in ("old", "new"):
        marks = {name: first(f"{ROTATION}/{generation}{path}") for name, path in AUTHORITIES.items()}
        found[generation] = {name: mark for name, mark in marks.items() if mark}
    return found


def first(path: str) -> str:
    """The fingerprint of the first certificate or public key in a file, as others tell it; "" without one."""
    if path.endswith(".pub"):
        return next((digest(each)[:16] for each in der(path)), "")
    blocks = BLOCK.findall(read(path).decode("utf-8", "replace")) if os.path.exists(path) else []
    return digest(ssl.PEM_cert_to_DER_cert(blocks[0])) if blocks else ""
