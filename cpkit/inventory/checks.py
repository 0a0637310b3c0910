"""What must hold between the nodes, the endpoint and the networks of a cluster."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from ipaddress import IPv4Address
from typing import TypeVar

from cpkit.errors import UsageError
from cpkit.inventory.cluster import Endpoint, Node
from cpkit.inventory.problems import Place, Problems
from cpkit.inventory.spec import ClusterSpec
from cpkit.inventory.values import API_PORT

MOST = 7
K = TypeVar("K", bound=Hashable)


def check_count(count: int, place: Place, problems: Problems) -> None:
    """A control plane has 1 to 7 nodes; it may pass through an even number, see `refuse_even`."""
    if count == 0:
        problems.add(place, "group 'control_plane' has no host; a cluster has 1, 3, 5 or 7 control-plane nodes")
    elif count > MOST:
        problems.add(
            place, f"group 'control_plane' has {count} hosts; use 1, 3, 5 or 7, as etcd slows down beyond {MOST}"
        )


def refuse_even(count: int) -> None:
    """A control plane may pass through an even number of nodes while they come and go; none begins with one."""
    if count and count % 2 == 0:
        raise UsageError(
            f"group 'control_plane' has {count} hosts, which tolerate no more failures than {count - 1}",
            hint="Use 1, 3, 5 or 7. A cluster that runs grows by: cpkit node add, and shrinks by: cpkit node remove",
        )


def check_unique(nodes: Iterable[Node], places: Mapping[str, Place], problems: Problems) -> None:
    """No two nodes share an address, or the way they are reached."""
    several = list(nodes)
    for address, sharing in _shared(several, lambda node: node.address):
        problems.add(places[sharing[1].name], f"{_names(sharing)} have the same address {address}")
    for (host, port, _), sharing in _shared(several, lambda node: (node.ssh.host, node.ssh.port, node.ssh.proxy_jump)):
        if len({node.address for node in sharing}) > 1:
            text = f"{_names(sharing)} are reached at the same ansible_host and ansible_port, {host}:{port}"
            problems.add(places[sharing[1].name], text)


def check_endpoint(
    endpoint: Endpoint, control_plane: tuple[Node, ...], balancers: tuple[Node, ...], place: Place, problems: Problems
) -> None:
    """The endpoint is the balancers' own address, or somebody else's, or that of a cluster's only node."""
    taken = next((node for node in control_plane + balancers if endpoint.host in {node.address, node.name}), None)
    if balancers and not _is_address(endpoint.host):
        problems.add(
            place, f"cluster_endpoint {endpoint.host!r} must be the IPv4 address that the load balancers share"
        )
    if taken is None:
        return
    if balancers:
        text = f"cluster_endpoint {endpoint.host} is {taken.name} itself; the load balancers need an address of its own"
        problems.add(place, f"{text}, which moves between them")
    elif len(control_plane) > 1:
        text = (
            f"cluster_endpoint {endpoint.host} is {taken.name} itself, so nothing would answer when that node is down"
        )
        problems.add(place, f"{text}; name a load balancer, or add hosts to group 'load_balancer'")
    elif endpoint.port != API_PORT:
        text = f"cluster_endpoint has port {endpoint.port}, but {taken.name} serves the API on port {API_PORT}"
        problems.add(place, text)


def check_networks(
    spec: ClusterSpec, nodes: Iterable[Node], endpoint: Endpoint, where: Callable[[str], Place], problems: Problems
) -> None:
    """No machine's address lies in the networks of Services and Pods."""
    addresses = {node.name: node.address for node in nodes if node.address}
    if _is_address(endpoint.host):
        addresses["cluster_endpoint"] = endpoint.host
    for name in ("cluster_service_cidr", "cluster_pod_cidr"):
        network = getattr(spec, name)
        inside = [f"{owner} ({address})" for owner, address in addresses.items() if IPv4Address(address) in network]
        if inside:
            problems.add(where(name), f"{name} {network} holds {', '.join(inside)}; choose a network used nowhere else")


def _shared(nodes: list[Node], key: Callable[[Node], K]) -> list[tuple[K, list[Node]]]:
    groups: dict[K, list[Node]] = defaultdict(list)
    for node in nodes:
        if node.address:
            groups[key(node)].append(node)
    return [(found, sharing) for found, sharing in groups.items() if len(sharing) > 1]


def _names(nodes: list[Node]) -> str:
    return " and ".join(node.name for node in nodes)


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
