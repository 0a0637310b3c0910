"""One frozen picture of a cluster: what was wanted, and what every node said at one time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from cpkit.facts.clock import Clock
from cpkit.facts.host import Host, Probe
from cpkit.inventory import Cluster
from cpkit.pki.certificates import Profile


@dataclass(frozen=True)
class Plan:
    """What the inventory says, as far as a judgement needs it."""

    cluster: str
    control_plane: dict[str, str]  # node -> address
    load_balancers: dict[str, str]
    endpoint_host: str
    endpoint_port: int
    service_address: str
    kubernetes: str
    etcd: str
    quota: int
    extra_sans: tuple[str, ...] = ()
    emulates: str = ""

    @cached_property
    def by_address(self) -> Mapping[str, str]:
        """The control-plane nodes by their address."""
        return {address: name for name, address in self.control_plane.items()}

    @classmethod
    def of(cls, cluster: Cluster) -> "Plan":
        """The part of a cluster's description that judgements need."""
        return cls(
            cluster=cluster.name,
            control_plane={node.name: node.address for node in cluster.control_plane},
            load_balancers={node.name: node.address for node in cluster.load_balancers},
            endpoint_host=cluster.endpoint.host,
            endpoint_port=cluster.endpoint.port,
            service_address=cluster.service_address,
            kubernetes=str(cluster.spec.kubernetes),
            etcd=str(cluster.spec.etcd),
            quota=cluster.spec.etcd_quota_backend_bytes,
            extra_sans=cluster.spec.cluster_extra_sans,
            emulates=cluster.spec.cluster_emulated_version,
        )


@dataclass(frozen=True)
class Certificate:
    """A certificate as read from its file; times are seconds since the epoch."""

    path: str
    subject: str
    issuer: str
    serial: str
    fingerprint: str
    not_before: float
    not_after: float
    sans: tuple[str, ...] = ()
    authority: bool = False
    key: str = "absent"
    signed_by: str = ""  # the CA file on the same node whose key signed it
    signer: str = ""  # the fingerprint of that CA, which may be one of several in the file
    error: str = ""  # why the file is no certificate
    profile: Profile | None = None  # what it says about its holder


@dataclass(frozen=True)
class NodeFacts:
    """What is known of one node; `host` is None when it could not be asked, and `error` says why."""

    name: str
    role: str
    address: str
    error: str = ""
    hint: str = ""
    host: Host | None = None
    certificates: tuple[Certificate, ...] = ()
    served: dict[str, Certificate] = field(default_factory=dict)  # by port, or "loopback"; no path
    clock: Clock | None = None


@dataclass(frozen=True)
class MemberRow:
    """A line of etcd's member list; a member that never started has no name."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    learner: bool = False

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The addresses at which its peers reach it."""
        return tuple(url.split("//", 1)[-1].rsplit(":", 1)[0] for url in self.peer_urls)


@dataclass(frozen=True)
class MemberStatus:
    """What one etcd member says of itself; `error` says why it could not be asked."""

    error: str = ""
    id: str = ""
    leader: str = ""  # "" when the member knows of none
    terms: tuple[int, ...] = ()  # of two readings
    index: int = 0
    applied: int = 0
    version: str = ""
    storage_version: str = ""
    downgrade: str = ""  # the version that the cluster may be taken back to now
    db_size: int = 0
    db_in_use: int = 0
    quota: int = 0
    learner: bool = False
    alarms: tuple[str, ...] = ()
    seconds: float = 0.0
    linearizable: str = "not asked"  # "" when a read through the leader succeeded, else why not
    hash: int | None = None  # HashKV at the snapshot's common revision
    compacted: int = 0  # a hash covers the keys from this revision on
    revision: int = 0


@dataclass(frozen=True)
class EtcdFacts:
    """The etcd cluster as seen through each of its members."""

    statuses: dict[str, MemberStatus] = field(default_factory=dict)  # by node
    members: tuple[MemberRow, ...] = ()
    revision: int = 0  # the revision all members were hashed at
    servers: tuple[str, ...] | None = None  # addresses at which API servers say that they serve


@dataclass(frozen=True)
class Stream:
    """The last word of whoever follows etcd into the store; `error` says why the store could not be asked."""

    backup: str = ""  # that it goes on from
    owner: str = ""
    revision: int = 0  # in the store
    until: float = 0.0  # as of then nothing is missing; seconds since the epoch, by the clock of who follows
    ended: bool = False  # told to end, not cut off
    error: str = ""


@dataclass(frozen=True)
class Snapshot:
    """All that was learnt in one reading; a fact that is absent is unknown, never healthy."""

    taken: float
    seconds: float
    plan: Plan
    nodes: dict[str, NodeFacts]
    etcd: EtcdFacts
    endpoint: Probe | None = None  # /readyz as the API's clients see it; None without a CA to verify it against
    stream: Stream | None = None  # None when there is none, or nobody looked

    @cached_property
    def control_plane(self) -> Mapping[str, NodeFacts]:
        """The control-plane nodes by name."""
        return {name: self.nodes[name] for name in self.plan.control_plane}

    @cached_property
    def load_balancers(self) -> Mapping[str, NodeFacts]:
        """The load balancers by name."""
        return {name: self.nodes[name] for name in self.plan.load_balancers}

    def member_node(self, row: MemberRow) -> str:
        """The node a member lives on, found by its peer address; "" for a stranger."""
        nodes = self.plan.by_address
        return next((nodes[host] for host in row.hosts if host in nodes), "")
