"""Every certificate and key of a cluster, as a list of what lies where, until when, and whether it is in use."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cpkit.facts.snapshot import Certificate, NodeFacts, Snapshot
from cpkit.health.certs import (
    AUTHORITIES,
    FAIL_DAYS,
    MEMORY_DAYS,
    SERVERS,
    WARN_DAYS,
    authority_of,
    days_left,
    refused,
    short,
)
from cpkit.health.check import CHECKS as REGISTRY
from cpkit.health.finding import Level
from cpkit.pki.authorities import PKI

Kind = Literal["leaf", "ca", "kubeconfig", "key", "memory", "unknown"]
Use = Literal["yes", "no", "unknown", ""]
KINDS: tuple[Kind, ...] = ("leaf", "kubeconfig", "ca", "key", "memory", "unknown")

# Who uses what, by the short names of the files.
USERS = {
    "apiserver": "API server → clients",
    "apiserver-kubelet-client": "API server → kubelets",
    "apiserver-etcd-client": "API server → etcd",
    "front-proxy-client": "API server → add-ons",
    "controller-manager": "controller manager",
    "scheduler": "scheduler",
    "etcd/server": "etcd → clients",
    "etcd/peer": "etcd ↔ etcd",
    "etcd/healthcheck-client": "cpkit, etcdctl → etcd",
    "admin.conf": "administrators → API",
    "admin.conf CA": "administrators",
    "ca": "API and its clients",
    "front-proxy-ca": "add-ons",
    "etcd/ca": "etcd and its clients",
    "sa.key": "tokens",
    "balancer CA": "HAProxy → API server",
    "loopback": "API server → itself",
}


@dataclass(frozen=True)
class Credential:
    """A certificate or a key on a node."""

    node: str
    name: str  # the file without the folder and the suffix, in kubeadm's words
    kind: Kind
    path: str = ""
    subject: str = ""
    issuer: str = ""
    sans: tuple[str, ...] = ()
    serial: str = ""
    fingerprint: str = ""
    not_before: float = 0.0
    not_after: float = 0.0
    days_left: float | None = None
    used_by: str = ""
    key: str = ""  # match, mismatch, absent, unreadable
    signed_by: str = ""
    ports: tuple[str, ...] = ()  # where it is served
    served: Use = ""  # whether what is served there is what is on disk
    accepted: Use = ""  # whether the server it is for accepts it
    error: str = ""  # why nothing is known

    @property
    def level(self) -> Level:
        """How well it is, in the words of a finding."""
        if self.error:
            return "unknown" if self.kind == "unknown" else "fail"
        spoiled = self.key in {"mismatch", "unreadable"} or (self.key == "absent" and self.kind != "ca")
        if spoiled or self.foreign or "no" in {self.served, self.accepted} or self._ends_within(FAIL_DAYS):
            return "fail"
        if "unknown" in {self.served, self.accepted}:
            return "unknown"
        return "warn" if self._ends_within(MEMORY_DAYS if self.kind == "memory" else WARN_DAYS) else "ok"

    @property
    def foreign(self) -> bool:
        """Whether another CA signed it than the one that should have."""
        checked = self.kind in {"leaf", "kubeconfig"} or self.path in AUTHORITIES
        return checked and self.signed_by != short(authority_of(self.path))

    def _ends_within(self, days: float) -> bool:
        return self.days_left is not None and self.days_left <= days


# What is said of credentials beside the list.
CHECKS = (
    "node.reachable",
    *(name for name in REGISTRY if name.startswith("certs.")),
    "api.trust",
    "api.tokens",
    "api.encryption",
    "lb.trust",
)


def credentials(snapshot: Snapshot) -> tuple[Credential, ...]:
    """Every credential on every node; a node that could not be asked is one line that says so."""
    found = [credential for node in snapshot.nodes.values() for credential in _on(node, snapshot.taken)]
    order = {each.name: place for place, each in reversed(list(enumerate(found)))}
    return tuple(sorted(found, key=lambda each: (KINDS.index(each.kind), order[each.name])))


def ends_first(found: tuple[Credential, ...]) -> Credential | None:
    """The credential that ends first of those that end."""
    ending = [each for each in found if each.days_left is not None]
    return min(ending, key=lambda each: each.days_left or 0.0, default=None)


def _on(node: NodeFacts, now: float) -> Iterator[Credential]:
    if node.host is None:
        yield Credential(node.name, "everything", "unknown", error=node.error)
        return
    if reason := node.host.missing.get("certificates"):
        yield Credential(node.name, "certificates", "unknown", error=reason)
    for certificate in node.certificates:
        yield _certificate(node, certificate, now)
    for path, key in node.host.keys.items():
        name = short(path) if path.startswith(PKI) else f"encryption key {path.partition('#')[2]}"
        used_by = USERS.get(name, "Secrets")
        state = "" if key.state == "present" else key.state
        yield Credential(node.name, name, "key", path, fingerprint=key.fingerprint, used_by=used_by, key=state)
    loopback, serving = node.served.get("loopback"), node.served.get("6443")
    if loopback and (not serving or loopback.fingerprint != serving.fingerprint):
        yield _described(node, "loopback", "memory", loopback, now)


def _certificate(node: NodeFacts, certificate: Certificate, now: float) -> Credential:
    name = _name(certificate.path)
    kind: Kind = "ca" if certificate.authority else "kubeconfig" if name.endswith(".conf") else "leaf"
    if certificate.error:
        return Credential(node.name, name, kind, certificate.path, error=certificate.error)
    return _described(node, name, kind, certificate, now)


def _described(node: NodeFacts, name: str, kind: Kind, certificate: Certificate, now: float) -> Credential:
    ports = tuple(port for port, (_, path) in SERVERS.items() if path == certificate.path)
    return Credential(
        node=node.name,
        name=name,
        kind=kind,
        path=certificate.path,
        subject=certificate.subject,
        issuer=certificate.issuer,
        sans=certificate.sans,
        serial=certificate.serial,
        fingerprint=certificate.fingerprint,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        days_left=days_left(certificate, now),
        used_by=USERS.get(name, ""),
        key=certificate.key if certificate.path in AUTHORITIES or kind in {"leaf", "kubeconfig"} else "",
        signed_by=short(certificate.signed_by),
        ports=ports,
        served=_served(node, certificate, ports),
        accepted=_accepted(node, name),
    )


def _served(node: NodeFacts, certificate: Certificate, ports: tuple[str, ...]) -> Use:
    if not ports:
        return ""
    if any(port not in node.served for port in ports):
        return "unknown"
    return "yes" if all(node.served[port].fingerprint == certificate.fingerprint for port in ports) else "no"


def _accepted(node: NodeFacts, name: str) -> Use:
    probe = node.host.clients.get(name) if node.host else None
    if probe is None:
        return ""
    if probe.ok:
        return "yes"
    return "no" if refused(probe) else "unknown"


def _name(path: str) -> str:
    if path.endswith("#certificate-authority"):
        return f"{short(path).partition('#')[0]} CA"
    return "balancer CA" if path.startswith("/etc/haproxy") else short(path).removesuffix(".crt")
