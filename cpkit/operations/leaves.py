"""Which leaves of which nodes are to be renewed, why, and whether that is done; pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cpkit.facts.snapshot import Certificate, NodeFacts, Snapshot
from cpkit.health.certs import authority_of
from cpkit.inventory import Cluster, Node
from cpkit.pki.certificates import difference
from cpkit.pki.leaves import Leaf, NodeIdentity, leaf_path, leaves_of
from cpkit.pki.renewal import Held, Renewal


@dataclass(frozen=True)
class Due:
    """A leaf that is to be replaced."""

    node: str
    name: str
    fingerprint: str  # of the certificate that is there now; empty when there is none
    serial: str
    why: str


@dataclass(frozen=True)
class Target:
    """What a run replaces: node -> leaf -> what is there now. A node that could not be asked is not in it."""

    nodes: Mapping[str, Mapping[str, Due]]

    @property
    def leaves(self) -> tuple[Due, ...]:
        """All leaves, in the order of the nodes."""
        return tuple(due for leaves in self.nodes.values() for due in leaves.values())

    def variables(self) -> dict[str, dict[str, str]]:
        """As role leaves takes it."""
        return {node: {name: due.fingerprint for name, due in leaves.items()} for node, leaves in self.nodes.items()}

    def to_journal(self) -> dict[str, Any]:
        """As it is written down."""
        return {
            node: {name: [due.fingerprint, due.serial, due.why] for name, due in leaves.items()}
            for node, leaves in self.nodes.items()
        }

    @classmethod
    def from_journal(cls, written: Mapping[str, Any]) -> "Target":
        """As it was written down."""
        return cls(
            {
                node: {name: Due(node, name, *values) for name, values in leaves.items()}
                for node, leaves in written.items()
            }
        )

    def left(self, snapshot: Snapshot) -> "Target":
        """What of it is not replaced yet."""
        return Target(
            {
                node: {name: due for name, due in leaves.items() if not _replaced(snapshot.nodes[node], due)}
                for node, leaves in self.nodes.items()
                if node in snapshot.nodes
            }
        )

    def over(self, other: "Target") -> "Target":
        """This target, and what the other names besides."""
        names = self.nodes.keys() | other.nodes.keys()
        return Target({node: {**other.nodes.get(node, {}), **self.nodes.get(node, {})} for node in sorted(names)})


def due(cluster: Cluster, snapshot: Snapshot, renewal: Renewal) -> Target:
    """The leaves that a renewal replaces, on every node that could be asked."""
    return Target(
        {
            name: {found.name: found for found in _on(identity(cluster, facts), facts, renewal, snapshot.taken)}
            for name, facts in snapshot.control_plane.items()
            if facts.host is not None and "certificates" not in facts.host.missing
        }
    )


def replaced(target: Target) -> Callable[[Snapshot, str], bool]:
    """Whether a node has all its new leaves, and none of the old ones lies aside any longer."""

    def done(snapshot: Snapshot, node: str) -> bool:
        facts = snapshot.nodes[node]
        aside = facts.host is not None and facts.host.kept
        return not aside and all(_replaced(facts, each) for each in target.nodes.get(node, {}).values())

    return done


def identity(cluster: Cluster, node: Node | NodeFacts) -> NodeIdentity:
    """What the inventory says of a node, as far as its leaves tell it."""
    spec = cluster.spec
    return NodeIdentity(
        name=node.name,
        address=node.address,
        endpoint_host=cluster.endpoint.host,
        endpoint_port=cluster.endpoint.port,
        service_address=cluster.service_address,
        dns_domain=spec.cluster_dns_domain,
        extra_sans=spec.cluster_extra_sans,
        key_type=spec.pki_key_type,
        leaf_days=spec.pki_leaf_days,
    )


def _on(identity: NodeIdentity, facts: NodeFacts, renewal: Renewal, now: float) -> list[Due]:
    found = []
    for leaf in leaves_of(identity):
        certificate = _find(facts, leaf.name)
        if certificate is None or certificate.error:
            if renewal.touches(leaf.name):
                why = "is missing" if certificate is None else "cannot be read"
                found.append(Due(facts.name, leaf.name, "", "", why))
            continue
        span = certificate.not_before, certificate.not_after
        held = Held(leaf.name, certificate.fingerprint, *span, _misfit(certificate, leaf, now))
        if why := renewal.reason(held, now):
            found.append(Due(facts.name, leaf.name, certificate.fingerprint, certificate.serial, why))
    return found


def _misfit(certificate: Certificate, leaf: Leaf, now: float) -> str:
    if certificate.signed_by != authority_of(certificate.path):
        return "is signed by another CA"
    if certificate.not_after <= now:
        return "has ended"
    if certificate.not_before > now:
        return "is not valid yet"
    if certificate.key != "match":
        return "does not belong to its key"
    return difference(certificate.profile, leaf.profile) if certificate.profile else ""


def _find(facts: NodeFacts, name: str) -> Certificate | None:
    return next((each for each in facts.certificates if each.path == leaf_path(name)), None)


def _replaced(facts: NodeFacts, due: Due) -> bool:
    held = _find(facts, due.name)
    return held is not None and not held.error and held.fingerprint != due.fingerprint


def serials(target: Target, snapshot: Snapshot) -> tuple[tuple[Due, str], ...]:
    """Every leaf of a target with the serial that it has now."""
    found = ((each, _find(snapshot.nodes[each.node], each.name)) for each in target.leaves)
    return tuple((each, held.serial if held else "") for each, held in found)
