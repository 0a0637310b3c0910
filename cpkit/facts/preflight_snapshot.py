"""What preflight learnt about every node, frozen."""

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

from cpkit.facts.clock import Clock
from cpkit.inventory import Cluster, Node

ETCD_CLIENTS, ETCD_PEERS, ETCD_METRICS = 2379, 2380, 2381
API_SERVER, CONTROLLER_MANAGER, SCHEDULER = 6443, 10257, 10259
BALANCER_STATISTICS = 8404
PRIVATE_PORTS = (ETCD_METRICS, CONTROLLER_MANAGER, SCHEDULER, BALANCER_STATISTICS)  # listened to on the loopback only


def needed_ports(cluster: Cluster, node: Node) -> dict[int, str]:
    """The ports a node's services will listen on, and whose they are."""
    if node.role == "load_balancer":
        return {cluster.endpoint.port: "the API endpoint", BALANCER_STATISTICS: "haproxy's statistics"}
    return {
        ETCD_CLIENTS: "etcd clients",
        ETCD_PEERS: "etcd peers",
        ETCD_METRICS: "etcd metrics",
        API_SERVER: "kube-apiserver",
        CONTROLLER_MANAGER: "kube-controller-manager",
        SCHEDULER: "kube-scheduler",
    }


@dataclass(frozen=True)
class Trouble:
    """Why a node could not be looked into: the check that names it, what happened and what to do."""

    check: str
    text: str
    hint: str = ""


@dataclass(frozen=True)
class Interface:
    """One network interface."""

    name: str
    mac: str
    addresses: tuple[str, ...]  # 10.0.0.1/24

    @cached_property
    def ips(self) -> frozenset[IPv4Address | IPv6Address]:
        """Its addresses without their networks."""
        return frozenset(ip_interface(address).ip for address in self.addresses)


@dataclass(frozen=True)
class Disk:
    """The room on one disk."""

    path: str
    free: int
    inodes: int  # -1: this file system does not count them
    read_only: bool


@dataclass(frozen=True)
class Listener:
    """A process that listens on a port a node's services need."""

    address: str
    port: int
    pid: int
    process: str
    executable: str
    unit: str
    command: str

    @property
    def installed_by_cpkit(self) -> bool:
        """Whether it runs from cpkit's own directory."""
        return self.executable.startswith("/opt/cpkit/")


@dataclass(frozen=True)
class Unit:
    """A systemd unit that may be in the way."""

    name: str
    active: bool
    enabled: bool
    path: str


@dataclass(frozen=True)
class Facts:
    """What the agent read on one node."""

    python: tuple[int, ...]
    machine: str
    hostname: str
    machine_id: str
    os: dict[str, str]
    systemd: int
    memory: int
    cpus: int
    interfaces: tuple[Interface, ...]
    disks: dict[str, Disk]
    listeners: tuple[Listener, ...]
    tools: frozenset[str]
    packages: dict[str, str]  # installed, available, missing or unknown
    etcd_data: tuple[str, ...]
    etcd_data_mounted: bool
    kubernetes: tuple[str, ...]
    manifests: tuple[str, ...]
    authority: str  # SHA-256 of the cluster's CA
    marker_name: str
    marker_node: str
    marker_id: str
    units: tuple[Unit, ...]
    balancing_managed: bool
    balancing_in_use: bool
    resolved: tuple[str, ...]  # addresses of the endpoint, as this node sees them

    def interface_of(self, address: str) -> Interface | None:
        """The interface that carries an address."""
        wanted = ip_address(address)
        return next((each for each in self.interfaces if wanted in each.ips), None)

    @property
    def runs_etcd(self) -> bool:
        """Whether cpkit's own etcd runs here now."""
        return any(found.port == ETCD_CLIENTS and found.installed_by_cpkit for found in self.listeners)


@dataclass(frozen=True)
class Dial:
    """One attempt to reach another node's port; `error` is empty when it worked."""

    node: str
    address: str
    port: int
    error: str


@dataclass(frozen=True)
class Fsync:
    """Latency of write and fdatasync where etcd's data will be."""

    path: str
    count: int = 0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class VipProbe:
    """Who answered for the VIP when a balancer asked."""

    address: str
    macs: tuple[str, ...] = ()
    answers: str = ""
    error: str = ""


@dataclass(frozen=True)
class Measured:
    """What could only be learnt by trying."""

    dials: tuple[Dial, ...]
    busy: dict[int, str]  # ports that could not be opened for the others to dial
    fsync: Fsync | None = None
    vip: VipProbe | None = None


@dataclass(frozen=True)
class NodeState:
    """One node: its facts, or the trouble that kept them from us."""

    node: Node
    trouble: Trouble | None = None
    clock: Clock | None = None
    facts: Facts | None = None
    measured: Measured | None = None
    unmeasured: str = ""  # why the measurements were lost

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name


@dataclass(frozen=True)
class PreflightSnapshot:
    """Every node of a cluster at one moment. When `quick`, nothing was measured."""

    cluster: Cluster
    nodes: tuple[NodeState, ...]
    quick: bool = False
