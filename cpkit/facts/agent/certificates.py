"""The certificates that lie on the node, and whether their keys belong to them."""
# Importing pathlib would add a tenth to the run.
# ruff: noqa: PTH110, PTH207

from __future__ import annotations

import base64
import contextlib
import glob
import os
import re
import ssl

from cpkit.facts.agent.files import BALANCER_CA, CONFIG, PKI, read

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
KEPT = "/var/lib/cpkit/previous"  # role leaves keeps there what it replaces, until the new ones are in use


def certificates() -> list[dict[str, str]]:
    """The public certificates on the node, each with whether its key belongs to it."""
    found = []
    for path in sorted(glob.glob(PKI + "/*.crt") + glob.glob(PKI + "/etcd/*.crt")):
        pem, key = read(path).decode("utf-8", "replace"), path[:-3] + "key"
        # The key of a CA that is being replaced belongs to one certificate of the bundle, not always the first.
        blocks = BLOCK.findall(pem) if path.endswith("ca.crt") else [pem]
        results = [pair(block.encode(), read(key)) for block in blocks] if os.path.exists(key) else ["absent"]
        state = "match" if "match" in results else (results or ["unreadable"])[0]
        found.append({"path": path, "pem": "".join(BLOCK.findall(pem)), "key": state})
    for path in sorted(glob.glob(CONFIG + "/*.conf")):
        held = embedded(path)
        if held["client-certificate"]:
            state = pair(held["client-certificate"], held["client-key"]) if held["client-key"] else "absent"
            found.append({"path": path, "pem": held["client-certificate"].decode("utf-8", "replace"), "key": state})
            trusted = held["certificate-authority"].decode("utf-8", "replace")
            found.append({"path": path + "#certificate-authority", "pem": trusted, "key": "absent"})
    return found


def balancer_certificates() -> list[dict[str, str]]:
    """The CA that a balancer checks the API servers with."""
    pem = read(BALANCER_CA).decode("utf-8", "replace")
    return [{"path": BALANCER_CA, "pem": "".join(BLOCK.findall(pem)), "key": "absent"}]


def embedded(path: str) -> dict[str, bytes]:
    """What a kubeconfig embeds; empty for what it does not."""
    text = read(path).decode("utf-8", "replace")
    found = dict.fromkeys(("certificate-authority", "client-certificate", "client-key"), b"")
    for name, value in re.findall(r"^\s*(\S+)-data:\s*(\S+)", text, re.MULTILINE):
        if name in found:
            found[name] = base64.b64decode(value)
    return found


def pair(certificate: bytes, key: bytes) -> str:
    """Whether a private key belongs to a certificate; both stay in this process's memory."""
    with in_memory(certificate) as crt, in_memory(key) as key_file:
        try:
            # A key behind a passphrase must not make OpenSSL ask for it.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(crt, key_file, password=lambda: b"-")
        except ssl.SSLError as error:
            return "mismatch" if error.reason == "KEY_VALUES_MISMATCH" else "unreadable"
    return "match"


@contextlib.contextmanager
def in_memory(data: bytes) -> Iterator[str]:
    """The path of a file that is in this process's memory alone."""
    file = os.memfd_create("pem")
    try:
        os.write(file, data)
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)
