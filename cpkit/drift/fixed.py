"""What is not changed in place, and where it leads instead; pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cpkit.drift.change import Change
from cpkit.facts.snapshot import Snapshot

UNITS = "/etc/systemd/system"
BACK = "Put it back in the inventory."
ANEW = f"{BACK} For another one, make a new cluster and bring its workloads there."
MEMBERS = "cpkit node add, remove and replace change who the nodes are, and where."
ENDPOINT = (
    f"{BACK} All clients know it. To serve another name or address as well, add it to cluster_extra_sans, lead it to\n"
    "  the balancers, move the clients, and make it the endpoint when nobody uses the old one any more."
)


@dataclass(frozen=True)
class Refusal:
    """A reason not to change what runs to what the inventory asks for."""

    rule: str
    text: str
    hint: str
    node: str = ""


@dataclass(frozen=True)
class Fixed:
    """Something in a file that all nodes of a kind share, or that is a node's own, for as long as the cluster lives."""

    path: str
    pattern: str
    what: str
    hint: str = ANEW

    def value(self, text: str) -> str:
        """What a file says of it; empty when it does not."""
        return ", ".join(map(str, re.findall(self.pattern, text, re.MULTILINE)))


def _flag(component: str, name: str, what: str, hint: str = ANEW) -> Fixed:
    return Fixed(f"{UNITS}/{component}.service", rf"^  --{name}=(.*?)(?: \\)?$", what, hint)


FIXED = (
    Fixed("/etc/cpkit/cluster.json", r'"name": "([^"]*)"', "the cluster's name (cluster_name)"),
    Fixed("/etc/cpkit/cluster.json", r'"address": "([^"]*)"', "the address of a node (node_address)", MEMBERS),
    _flag("etcd", "name", "the name of a member", MEMBERS),
    _flag("etcd", "data-dir", "where etcd has its data (etcd_data_dir)", f"{BACK} Data is not moved."),
    _flag("etcd", "initial-advertise-peer-urls", "the address of a member", MEMBERS),
    _flag("kube-apiserver", "advertise-address", "the address of an API server", MEMBERS),
    _flag("kube-apiserver", "etcd-servers", "etcd's members", MEMBERS),
    _flag("kube-apiserver", "etcd-prefix", "where etcd has the cluster's objects"),
    _flag("kube-apiserver", "encryption-provider-config", "where the keys of Secrets are", f"{BACK} Keys are replaced "
          "by: cpkit encryption rotate"),
    _flag("kube-apiserver", "service-account-issuer", "the issuer of tokens (cluster_dns_domain)",
          f"{BACK} Every token of a service account would be refused."),
    _flag("kube-apiserver", "service-cluster-ip-range", "the addresses of Services (cluster_service_cidr)"),
    _flag("kube-controller-manager", "cluster-cidr", "the addresses of Pods (cluster_pod_cidr)"),
    _flag("kube-controller-manager", "service-cluster-ip-range", "the addresses of Services (cluster_service_cidr)"),
    Fixed("/etc/haproxy/haproxy.cfg", r"^    bind :(\d+)$", "the port of the endpoint (cluster_endpoint)", ENDPOINT),
    Fixed("/etc/keepalived/keepalived.conf", r"virtual_ipaddress \{\s+([^/\s]+)", "the endpoint's address "
          "(cluster_endpoint)", ENDPOINT),
    Fixed("/etc/keepalived/keepalived.conf", r"virtual_router_id (\d+)", "the VRRP router ID "
          "(load_balancer_virtual_router_id)", f"{BACK} Balancers with different ones would hold the address both."),
)  # fmt: skip


def refuse_fixed(changes: Iterable[Change], kinds: Iterable[Iterable[str]]) -> Iterator[Refusal]:
    """What would have to change on every node of a kind, so that it is the inventory that was changed.

    Where another node of the kind has it as the inventory asks for, this one has drifted, and gets it back.
    """
    seen = tuple(changes)
    for fixed in FIXED:
        odd = dict(_odd(fixed, seen))
        for kind in kinds:
            nodes = tuple(kind)
            if nodes and all(name in odd for name in nodes):
                before, after = odd[nodes[0]]
                text = f"{fixed.what}: {before or 'not set'} on the nodes, and {after or 'not set'} in the inventory"
                yield Refusal("fixed", f"{text}; it is not changed in place", fixed.hint)


def _odd(fixed: Fixed, changes: Iterable[Change]) -> Iterator[tuple[str, tuple[str, str]]]:
    for change in changes:
        for diff in change.diffs:
            before, after = fixed.value(diff.before), fixed.value(diff.after)
            if diff.path == fixed.path and diff.before and before != after:
                yield change.node, (before, after)


def refuse_versions(snapshot: Snapshot) -> Iterator[Refusal]:
    """Other versions than the inventory asks for: the roles would select them by the way."""
    plan = snapshot.plan
    for node, facts in snapshot.control_plane.items():
        for component, found in (facts.host.components if facts.host else {}).items():
            version = found.running or found.selected
            wanted = plan.etcd if component == "etcd" else plan.kubernetes
            if version and wanted not in {version, ""}:
                text = f"{component} is {version}, and the inventory asks for {wanted}"
                hint = "Another version is an upgrade: cpkit upgrade plan, cpkit upgrade rolling\n"
                yield Refusal("version", text, f"{hint}  Or set the version in the inventory to what runs.", node)
            elif version and component != "etcd" and (found.running and found.emulates != plan.emulates):
                text = f"{component} behaves like {found.emulates or 'itself'}, and cluster_emulated_version is "
                hint = "End the upgrade, or take it back: cpkit upgrade finalize, cpkit upgrade rollback"
                yield Refusal("version", f"{text}{plan.emulates or 'not set'}", hint, node)
