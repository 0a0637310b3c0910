"""Handshakes with the servers of the node and of the others: what is shown, and who is accepted."""

from __future__ import annotations

import socket
import ssl

from cpkit.facts.agent.asking import LOOPBACK, PATIENCE, believing, probe, reason, trusting
from cpkit.facts.agent.certificates import embedded, in_memory
from cpkit.facts.agent.files import CONFIG, PKI

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from typing import Any

# What serves TLS here: a port, the pair to show so that no server logs a fault, and the name to ask for. The API server
# serves its own loopback client a certificate that is on no disk, made at its start, under a name of its own.
PEERS = 2380  # the one port that is not served on loopback
SERVERS = {
    "2379": (2379, PKI + "/etcd/healthcheck-client", ""),
    "2380": (PEERS, PKI + "/etcd/peer", ""),
    "6443": (6443, "", ""),
    "loopback": (6443, "", "apiserver-loopback-client"),
    "10257": (10257, "", ""),
    "10259": (10259, "", ""),
}
# The client certificates, where each must be accepted; /version is told to whoever is somebody.
CLIENTS = {
    "apiserver-etcd-client": (2379, "/health"),
    "etcd/healthcheck-client": (2379, "/health"),
    "etcd/peer": (PEERS, "/version"),
    "apiserver-kubelet-client": (6443, "/version"),
    "front-proxy-client": (6443, "/version"),
    "controller-manager": (6443, "/version"),
    "scheduler": (6443, "/version"),
    "admin.conf": (6443, "/version"),
}


def served(name: str, address: str) -> str:
    """The certificate that a server of this node shows, whoever signed it."""
    port, shows, asked = SERVERS[name]
    try:
        context = believing(shows)
    except (OSError, ssl.SSLError):
        context = believing()  # a pair that does not match must not hide what is served
    with socket.create_connection((address if port == PEERS else LOOPBACK, port), PATIENCE) as plain:
        plain.settimeout(PATIENCE)
        with context.wrap_socket(plain, server_hostname=asked or None) as stream:
            return ssl.DER_cert_to_PEM_cert(stream.getpeercert(True) or b"")


def client(name: str, address: str) -> dict[str, Any]:
    """Whether the server that a client certificate is for accepts it; asked with the files as they lie here."""
    port, path = CLIENTS[name]
    more = "X-Remote-User: cpkit\r\nX-Remote-Group: system:authenticated\r\n" if name == "front-proxy-client" else ""
    if not name.endswith(".conf"):
        where = address if port == PEERS else LOOPBACK
        return probe(port, path, lambda: believing(f"{PKI}/{name}"), more, where)
    held = embedded(f"{CONFIG}/{name}")
    with in_memory(held["client-certificate"] + b"\n" + held["client-key"]) as file:

        def context() -> ssl.SSLContext:
            made = believing()
            made.load_cert_chain(file, password=lambda: b"-")
            return made

        return probe(port, path, context, more)


def dial(address: str, port: int) -> str:
    """Why a port of another node cannot be reached; "" when it can, up to TLS, so that no server logs a fault."""
    try:
        with socket.create_connection((address, port), 1.0) as stream:
            etcd = port == PEERS
            context = trusting(PKI + ("/etcd/ca.crt" if etcd else "/ca.crt"), PKI + "/etcd/peer" if etcd else "")
            context.wrap_socket(stream, server_hostname=address).close()
    except (OSError, ValueError) as error:
        return reason(error)
    return ""
