"""Real handshakes with old and new credentials on every edge of a node: what is accepted there, and what is refused.

The credentials are made in this process's memory, for some minutes, and reach the node through tunnels.
"""

import base64
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from cpkit.facts.agent.asking import believing, probe
from cpkit.facts.agent.certificates import in_memory
from cpkit.facts.host import Probe
from cpkit.inventory import Cluster, Node
from cpkit.pki.authorities import Authorities
from cpkit.pki.certificates import Authority, Profile, certificate_to_pem, issue
from cpkit.pki.keys import PrivateKey, key_to_pem, new_key
from cpkit.pki.succession import Generation, Name
from cpkit.ssh import Connection, connect, fan_out

DEADLINE = 20.0  # seconds for all edges of a node
LIFE = 3600.0  # seconds a token is good for
FRONT = "X-Remote-User: cpkit\r\nX-Remote-Group: system:authenticated\r\n"


@dataclass(frozen=True)
class Account:
    """The service account that tokens are made for; one that is not there would make no token valid."""

    issuer: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Generations:
    """The authorities before and after, and the service account to make tokens for."""

    held: Mapping[Generation, Authorities]
    names: tuple[Name, ...]
    account: Account | None


@dataclass(frozen=True)
class Edge:
    """What one server of a node answered to a credential, or what it showed to who trusts one generation alone."""

    node: str
    name: str  # as `clients → API server`
    authority: Name
    generation: Generation
    shows: bool  # whether it is about what the server shows, and not about what it accepts
    probe: Probe


@dataclass(frozen=True)
class _Way:
    """One way to try an edge: a port, what is shown there and who is trusted."""

    name: str
    authority: Name
    port: int
    path: str
    more: str = ""
    peer: bool = False  # served on the node's own address alone
    verifies: bool = False


# Who presents what to whom; the last ones ask what is served, and are tried with each generation as the one trusted.
WAYS = (
    _Way("clients → API server", "cluster", 6443, "/version"),
    _Way("front proxy → API server", "front_proxy", 6443, "/version", FRONT),
    _Way("API server → etcd", "etcd", 2379, "/health"),
    _Way("etcd → etcd", "etcd", 2380, "/version", peer=True),
    _Way("tokens → API server", "service_account", 6443, "/version"),
    _Way("API server, as served", "cluster", 6443, "/livez", verifies=True),
    _Way("controller manager, as served", "cluster", 10257, "/healthz", verifies=True),
    _Way("scheduler, as served", "cluster", 10259, "/healthz", verifies=True),
    _Way("etcd to clients, as served", "etcd", 2379, "/health", verifies=True),
    _Way("etcd to peers, as served", "etcd", 2380, "/version", peer=True, verifies=True),
)


def look(cluster: Cluster, generations: Generations) -> dict[str, tuple[Edge, ...] | str]:
    """Every edge of every control-plane node with both generations; of a node that cannot be asked, why."""
    answers = fan_out(cluster.control_plane, lambda node: _node(node, generations), deadline=DEADLINE)
    return {name: answer if isinstance(answer, tuple) else answer.message for name, answer in answers.items()}


def _node(node: Node, generations: Generations) -> tuple[Edge, ...]:
    with connect(node) as connection:
        return tuple(
            Edge(node.name, way.name, way.authority, each, way.verifies, _try(connection, node, way, each, generations))
            for way in WAYS
            if way.authority in generations.names
            for each in generations.held
        )


def _try(connection: Connection, node: Node, way: _Way, generation: Generation, generations: Generations) -> Probe:
    held = generations.held[generation]
    more = way.more
    if way.authority == "service_account":
        if generations.account is None:
            return Probe(error="no service account was found to make a token for")
        more = f"Authorization: Bearer {token(held.service_account, generations.account)}\r\n"
    with connection.tunnel(way.port, node.address if way.peer else "127.0.0.1") as (host, port):
        said = probe(port, way.path, lambda: _context(way, held, generations), more, host)
    return Probe(
        status=int(said.get("status", 0)),
        seconds=float(said["seconds"]),
        error=str(said.get("error", "")),
        served=str(said.get("served", "")),
    )


def _context(way: _Way, held: Authorities, generations: Generations) -> ssl.SSLContext:
    """What shows a credential of one generation to whoever is there; or trusts it alone, and shows what is accepted."""
    if way.verifies:
        authority: Authority = getattr(held, way.authority)
        context = ssl.create_default_context(cadata=authority.certificate_pem)
        shown = generations.held["new"] if way.authority == "etcd" else None
    else:
        context = believing()
        shown = held if way.authority != "service_account" else None
    if shown is not None:
        _show(context, getattr(shown, way.authority), Profile(_holder(way.authority)))
    return context


def _holder(name: Name) -> str:
    return "front-proxy-client" if name == "front_proxy" else "cpkit-proof"


def _show(context: ssl.SSLContext, authority: Authority, profile: Profile) -> None:
    key = new_key("ecdsa-p256")
    certificate = certificate_to_pem(issue(authority, profile, key=key, days=1))
    with in_memory((certificate + key_to_pem(key)).encode()) as file:
        context.load_cert_chain(file)


def token(key: PrivateKey, account: Account) -> str:
    """A token of a service account, as an API server that signs with this key would give it."""
    now = int(time.time())
    claims = {
        "iss": account.issuer,
        "aud": [account.issuer],
        "sub": f"system:serviceaccount:{account.namespace}:{account.name}",
        "iat": now,
        "nbf": now - 60,
        "exp": now + int(LIFE),
        "kubernetes.io": {
            "namespace": account.namespace,
            "serviceaccount": {"name": account.name, "uid": account.uid},
        },
    }
    algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
    signed = b".".join(_part(json.dumps(each).encode()) for each in ({"alg": algorithm, "typ": "JWT"}, claims))
    return b".".join((signed, _part(_signature(key, signed)))).decode()


def _signature(key: PrivateKey, data: bytes) -> bytes:
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _part(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
