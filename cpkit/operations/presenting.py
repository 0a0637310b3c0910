"""Who still shows the API servers a client certificate that the new CA did not issue, as their audit logs tell."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from cpkit.facts.snapshot import Snapshot
from cpkit.inventory import Cluster, Node
from cpkit.operations.publishing import Api
from cpkit.pki.authorities import CLUSTER_CA
from cpkit.pki.certificates import Authority
from cpkit.ssh import connect, fan_out

LOG = "/var/log/kubernetes/audit.log"
TAIL = 8 << 20  # bytes of each node's log
RECENT = 600.0  # seconds
SHOWN = re.compile(r'"X509SHA256=([0-9a-f]{64})"')
CERTIFICATES = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
TIMEOUT = 10.0
LOOPBACK = "127.0.0.1"  # cpkit's own readings of a node


@dataclass(frozen=True)
class Presented:
    """A user that was seen with such a certificate, from where, and how many seconds ago."""

    user: str
    address: str
    seconds: float


def presented(cluster: Cluster, snapshot: Snapshot, authority: Authority) -> tuple[Presented, ...]:
    """Everybody who was seen since every node issues with the new CA; the nodes' own services have moved with it."""
    known = {
        each.fingerprint
        for facts in snapshot.control_plane.values()
        for each in facts.certificates
        if each.signer == authority.certificate.fingerprint(hashes.SHA256()).hex()
    }
    known |= set(_issued(Api(cluster), authority))
    answers = fan_out(cluster.control_plane, _tail, deadline=2 * TIMEOUT)
    lines = [line for answer in answers.values() if isinstance(answer, str) for line in answer.splitlines()]
    return strangers(lines, known, set(snapshot.plan.control_plane.values()), snapshot.taken, within=_since(snapshot))


def strangers(
    lines: Iterable[str], known: set[str], nodes: set[str], now: float, *, within: float
) -> tuple[Presented, ...]:
    """Whoever showed a certificate that is not known, when last; services of the nodes themselves are left out."""
    last: dict[tuple[str, str], float] = {}
    for line in lines:
        shown = SHOWN.search(line)
        event = _event(line) if shown and shown[1] not in known else {}
        user, addresses = event.get("user", {}).get("username", ""), event.get("sourceIPs") or [""]
        if not user or addresses[0] == LOOPBACK or (addresses[0] in nodes and user.startswith("system:kube-")):
            continue
        at = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
        last[user, addresses[0]] = max(at, last.get((user, addresses[0]), 0.0))
    return tuple(
        Presented(user, address, round(max(0.0, now - at), 1))
        for (user, address), at in sorted(last.items())
        if now - at <= within
    )


def _since(snapshot: Snapshot) -> float:
    """Seconds since the last node began to issue with the new CA."""
    hosts = [facts.host for facts in snapshot.control_plane.values()]
    ago = [host.uptime - host.rotation.changed.get(CLUSTER_CA[0], 0.0) for host in hosts if host and host.rotation]
    return min([RECENT, *ago])


def _event(line: str) -> Mapping[str, Any]:
    try:
        event: Mapping[str, Any] = json.loads(line)
    except ValueError:
        return {}  # the first line of a tail is cut
    return event


def _tail(node: Node) -> str:
    with connect(node) as connection:
        done = connection.run(["tail", f"--bytes={TAIL}", LOG], sudo=True, timeout=TIMEOUT)
    return done.stdout.decode("utf-8", "replace")


def _issued(api: Api, authority: Authority) -> Iterator[str]:
    """Certificates that the controller manager signed with the new CA, as kubelets' are."""
    for each in api.all(f"{CERTIFICATES}"):
        encoded = each.get("status", {}).get("certificate", "")
        try:
            found = x509.load_pem_x509_certificate(base64.b64decode(encoded))
            found.verify_directly_issued_by(authority.certificate)
        except (ValueError, TypeError, InvalidSignature):
            continue
        yield found.fingerprint(hashes.SHA256()).hex()
