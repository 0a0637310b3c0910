"""Every leaf of a control-plane node: who signs it, what it says, and who uses it."""

from dataclasses import dataclass
from typing import Literal

from cpkit.pki.authorities import PKI, Authorities
from cpkit.pki.certificates import Authority, Profile

ADMINS = "kubeadm:cluster-admins"
KUBECONFIGS = "/etc/kubernetes"
ADMIN = f"{KUBECONFIGS}/admin.conf"
AuthorityName = Literal["cluster", "etcd", "front_proxy"]


@dataclass(frozen=True)
class NodeIdentity:
    """What the leaves of a node must say, and how they are made."""

    name: str
    address: str
    endpoint_host: str
    endpoint_port: int
    service_address: str
    dns_domain: str
    extra_sans: tuple[str, ...]
    key_type: str
    leaf_days: int


@dataclass(frozen=True)
class Leaf:
    """A leaf by its name; the kubeconfig of the administrators embeds its own, under the name `admin.conf`."""

    name: str
    authority: AuthorityName
    profile: Profile
    owner: str = "root"  # who reads the key

    @property
    def path(self) -> str:
        """The file that holds the certificate."""
        return leaf_path(self.name)

    def signer(self, authorities: Authorities) -> Authority:
        """The authority that signs it."""
        signer: Authority = getattr(authorities, self.authority)
        return signer


# In the order in which they are laid down.
LEAVES = (
    "apiserver",
    "apiserver-kubelet-client",
    "apiserver-etcd-client",
    "front-proxy-client",
    "controller-manager",
    "scheduler",
    "etcd/server",
    "etcd/peer",
    "etcd/healthcheck-client",
)
NAMES = (*LEAVES, "admin.conf")


def leaf_path(name: str) -> str:
    """The file that holds the certificate of a leaf."""
    return ADMIN if name == "admin.conf" else f"{PKI}/{name}.crt"


def leaves_of(node: NodeIdentity) -> tuple[Leaf, ...]:
    """All leaves of a node, in the order of NAMES."""
    member = _unique("localhost", node.name, node.address, "127.0.0.1", "::1")
    api = _unique(
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{node.dns_domain}",
        "localhost",
        node.name,
        node.service_address,
        node.address,
        "127.0.0.1",
        node.endpoint_host,
        *node.extra_sans,
    )

    # The controllers serve what they show as clients, so a handshake proves that they have read what lies on the disk.
    def controller(user: str) -> Profile:
        return Profile(user, sans=member, server=True)

    return (
        Leaf("apiserver", "cluster", Profile("kube-apiserver", sans=api, server=True, client=False)),
        Leaf("apiserver-kubelet-client", "cluster", Profile("kube-apiserver-kubelet-client", ADMINS)),
        Leaf("apiserver-etcd-client", "etcd", Profile("kube-apiserver-etcd-client")),
        Leaf("front-proxy-client", "front_proxy", Profile("front-proxy-client")),
        Leaf("controller-manager", "cluster", controller("system:kube-controller-manager")),
        Leaf("scheduler", "cluster", controller("system:kube-scheduler")),
        Leaf("etcd/server", "etcd", Profile(node.name, sans=member, server=True), owner="etcd"),
        Leaf("etcd/peer", "etcd", Profile(node.name, sans=member, server=True), owner="etcd"),
        Leaf("etcd/healthcheck-client", "etcd", Profile("kube-etcd-healthcheck-client")),
        Leaf("admin.conf", "cluster", Profile("kubernetes-admin", ADMINS)),
    )


def _unique(*sans: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sans))
