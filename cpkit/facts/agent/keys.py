"""The keys on the node that have no certificate, told apart by fingerprints."""
# Importing pathlib would add a tenth to the run.
# ruff: noqa: PTH110

from __future__ import annotations

import base64
import hmac
import os
import re

from cpkit.facts.agent.files import CONFIG, PKI, digest, read

KEY = re.compile(r"-----BEGIN ([A-Z ]*(?:PUBLIC|PRIVATE) KEY)-----(.+?)-----END \1-----", re.DOTALL)
KEPT_ENCRYPTION = "/var/lib/cpkit/previous-encryption"  # as role encryption_keys does


def keys() -> dict[str, dict[str, str]]:
    """Fingerprints of the keys that have no certificate: they tell keys apart, and nothing else."""
    found = {}
    service_account = PKI + "/sa.key"
    if os.path.exists(service_account) or os.path.exists(PKI + "/sa.pub"):
        public, private = ((der(PKI + name) or [b""])[0] for name in ("/sa.pub", "/sa.key"))
        # The public point or modulus is a part of the private key's own encoding.
        part = public[-68:] if len(public) < 130 else public[-69:-5]
        state = "absent" if not private else "match" if part and part in private else "mismatch"
        found[service_account] = {"fingerprint": digest(public)[:16] if public else "", "state": state}
    if os.path.exists(CONFIG + "/encryption.yaml"):
        text = read(CONFIG + "/encryption.yaml").decode("utf-8", "replace")
        for name, secret in re.findall(r"name:\s*(\S+)\s+secret:\s*(\S+)", text):
            mark = hmac.new(secret.encode(), b"fingerprint", "sha256").hexdigest()[:16]
            # Of two with the same name the first is the one that writes: other providers come after it.
            found.setdefault(f"{CONFIG}/encryption.yaml#{name}", {"fingerprint": mark, "state": "present"})
    return found


def der(path: str) -> list[bytes]:
    """The keys in a PEM file, decoded; none when there is no such file."""
    try:
        text = read(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [base64.b64decode(body) for _, body in KEY.findall(text)]
