"""What a restore has to prove before it goes on, and what it clears away: reading, judging, and calls to etcd."""

from collections.abc import Callable
from dataclasses import dataclass

from cpkit.backup import Manifest, resources
from cpkit.errors import CpkitError
from cpkit.etcd import MemberClient
from cpkit.facts.collect import collect
from cpkit.facts.member import open_member
from cpkit.facts.snapshot import Snapshot
from cpkit.health import CHECKS, Finding, exit_code, judge, settle
from cpkit.health.controllers import ELECTED
from cpkit.health.members import leader
from cpkit.inventory import Cluster
from cpkit.operations.listener import Listener
from cpkit.operations.restore_plan import miscounted

# A certificate that is due was so before, and a restore changes none.
WHOLE = tuple(name for name in CHECKS if not name.startswith("certs."))
ETCD = ("etcd.quorum", "etcd.members", "etcd.leader", "etcd.lag", "etcd.hash")
PROVEN = 60.0  # seconds until a started etcd must be sound
SETTLE = 90.0  # seconds the cluster may take to become healthy
CALL = 30.0
LEASES = b"/registry/leases/kube-system/"
# What tells of API servers and of elections of before, and is made anew by whoever starts.
STALE = (b"/registry/masterleases/", b"/registry/peerserverleases/", LEASES + b"apiserver-")
ELECTIONS = tuple(LEASES + name.encode() for name in ELECTED)


@dataclass(frozen=True)
class Proof:
    """Proofs of one cluster."""

    cluster: Cluster
    listener: Listener
    lost: frozenset[str] = frozenset()  # nodes that are gone for good, and prove nothing

    def etcd(self, manifest: Manifest) -> int:
        """Quorum, one leader, the same keys everywhere, and of each resource as many as the manifest says.

        What only tells of API servers and elections of before is taken away then, so that nobody waits for it.
        """
        snapshots: list[Snapshot] = []

        def look() -> Snapshot:
            snapshots.append(collect(self.cluster))
            return snapshots[-1]

        _settled(settle(look, self._told(ETCD), deadline=PROVEN), "etcd runs on the new data, but is not sound")
        node = next(node for node in self.cluster.control_plane if node.name == leader(snapshots[-1]))
        with open_member(node, timeout=CALL) as client:
            revision = client.probe()
            if _served(snapshots[-1]):
                self.listener.say("an API server runs already, so the objects are not those of the backup any more")
                return revision
            counts = resources.count(client, revision)
            wrong = miscounted(manifest, counts)
            if wrong:
                raise CpkitError(
                    f"etcd holds other numbers of objects than the backup: {'; '.join(wrong[:3])}",
                    hint="The API servers were not started. Run the same command again, or ask for help.",
                )
            cleared = _clear(client)
        self.listener.say(f"{sum(counts.values())} keys, as in the backup; the next revision is {revision + 1}")
        self.listener.say(f"took away {cleared} leases of API servers and controllers that run no more")
        return revision

    def whole(self) -> tuple[Finding, ...]:
        """The cluster, judged by every check of health that a restore has a part in."""
        findings = settle(lambda: collect(self.cluster), self._told(WHOLE), deadline=SETTLE)
        return _settled(findings, f"etcd runs, but the cluster is not healthy after {SETTLE:.0f} s")

    def _told(self, names: tuple[str, ...]) -> Callable[[Snapshot], tuple[Finding, ...]]:
        def check(snapshot: Snapshot) -> tuple[Finding, ...]:
            findings = tuple(each for each in judge(snapshot, names) if self._counts(each))
            first = next((finding for finding in findings if finding.blocks), None)
            if first:
                self.listener.status(f"waiting: {first.node or 'cluster'}: {first.text}")
            return findings

        return check

    def _counts(self, finding: Finding) -> bool:
        """A lost node is missing to itself and to the balancers, and that is known."""
        return not self.lost or (finding.node not in self.lost and not finding.check.startswith("lb."))


def _clear(client: MemberClient) -> int:
    ranges = [(prefix, resources.after(prefix)) for prefix in STALE] + [(key, key + b"\0") for key in ELECTIONS]
    stale = [key for start, end in ranges for key in client.keys(start, end, revision=0, limit=1000)]
    for key in stale:
        client.etcd3.delete(key)
    return len(stale)


def _served(snapshot: Snapshot) -> bool:
    """Whether an API server may write: it runs, or is about to."""
    hosts = (facts.host for facts in snapshot.control_plane.values() if facts.host)
    units = (host.units["kube-apiserver"] for host in hosts if "kube-apiserver" in host.units)
    return any(unit.state not in {"inactive", "failed"} for unit in units)


def _settled(findings: tuple[Finding, ...], what: str) -> tuple[Finding, ...]:
    blocking = [finding for finding in findings if finding.blocks]
    if blocking:
        error = CpkitError(f"{what}: {blocking[0].text}", node=blocking[0].node, hint="See: cpkit health")
        error.code = exit_code(findings)
        raise error
    return findings
