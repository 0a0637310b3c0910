"""The way to a node's etcd member: a tunnel to its loopback, and the node's own health-check certificate."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cpkit import etcd
from cpkit.errors import CpkitError
from cpkit.inventory import Node
from cpkit.ssh import Connection, connect

PKI = "/etc/kubernetes/pki"
FILES = tuple(
    f"{PKI}/{name}" for name in ("etcd/ca.crt", "etcd/healthcheck-client.crt", "etcd/healthcheck-client.key", "ca.crt")
)
PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\n?", re.DOTALL)
PORT = 2379


@dataclass(frozen=True)
class Credentials:
    """What a client of a member needs, as PEM; the key stays in this process's memory."""

    authorities: bytes
    certificate: bytes
    key: bytes = field(repr=False)
    cluster: bytes  # the cluster's own authorities


def credentials(connection: Connection, *, timeout: float) -> Credentials:
    """The node's health-check certificate and what it is trusted by."""
    read = connection.run(["cat", *FILES], sudo=True, timeout=timeout)
    parts = [match.group(0) for match in PEM.finditer(read.stdout)]
    keys = [part for part in parts if b"PRIVATE KEY-----" in part]
    if read.rc or len(keys) != 1:
        lines = read.stderr.decode("utf-8", "replace").strip().splitlines()
        why = lines[-1] if lines else "it is not what was expected"
        raise CpkitError(f"its health-check certificate cannot be read: {why}", node=connection.node.name)
    middle = parts.index(keys[0])
    # In the order of FILES: etcd's CAs, the certificate, its key, the cluster's CAs.
    return Credentials(b"".join(parts[: middle - 1]), parts[middle - 1], keys[0], b"".join(parts[middle + 1 :]))


@contextmanager
def client(connection: Connection, held: Credentials, *, timeout: float) -> Iterator[etcd.MemberClient]:
    """A client of the node's member, through the connection."""
    name = connection.node.name
    with (
        connection.tunnel(PORT) as (host, port),
        etcd.MemberClient(
            host, port, ca=held.authorities, cert=held.certificate, key=held.key, timeout=timeout, node=name
        ) as member,
    ):
        yield member


def short_cut(connection: Connection) -> AbstractContextManager[Path]:
    """A Unix socket that leads to the node's member, for what is large: another process carries it.

    Small calls take 40 ms each on this way, for without a session OpenSSH lets small packets wait.
    """
    return connection.forward(PORT)


@contextmanager
def open_member(node: Node, *, connect_timeout: float = 5.0, timeout: float = 5.0) -> Iterator[etcd.MemberClient]:
    """A client of a node's member, over a connection of its own; `timeout` is for each call."""
    with (
        connect(node, timeout=connect_timeout) as connection,
        client(connection, credentials(connection, timeout=timeout), timeout=timeout) as member,
    ):
        yield member
