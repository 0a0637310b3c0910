"""The validated, frozen description of one cluster."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cpkit.inventory.spec import ClusterSpec

Role = Literal["control_plane", "load_balancer"]


@dataclass(frozen=True)
class SshTarget:
    """How a node is reached: what Ansible's connection variables say."""

    host: str
    port: int = 22
    user: str = "root"
    key_file: Path | None = None
    known_hosts: Path | None = None  # ~/.ssh/known_hosts when None
    proxy_jump: str = ""  # [user@]host[:port], as OpenSSH's ProxyJump
    become: bool = True
    become_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Node:
    """One machine of the cluster."""

    name: str
    address: str  # where the other nodes reach it
    role: Role
    ssh: SshTarget


@dataclass(frozen=True)
class Endpoint:
    """The address every client of the API uses."""

    host: str
    port: int = 6443

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Cluster:
    """The spec and the nodes; the order of nodes has no meaning."""

    inventory: Path  # the hosts file it was read from, and what Ansible is given; group_vars lie beside it
    spec: ClusterSpec
    control_plane: tuple[Node, ...]
    load_balancers: tuple[Node, ...]
    endpoint: Endpoint

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.spec.cluster_name

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, control plane first."""
        return self.control_plane + self.load_balancers

    @property
    def service_address(self) -> str:
        """The address of the `kubernetes` Service: the first of the Service network."""
        return str(self.spec.cluster_service_cidr[1])

    def with_sudo_password(self, password: str) -> "Cluster":
        """The cluster with this password for sudo on every node that has none of its own."""

        def give(node: Node) -> Node:
            return replace(node, ssh=replace(node.ssh, become_password=node.ssh.become_password or password))

        return replace(
            self,
            control_plane=tuple(map(give, self.control_plane)),
            load_balancers=tuple(map(give, self.load_balancers)),
        )
