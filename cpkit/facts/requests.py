"""What waits on each node for a certificate that is signed elsewhere, and which CAs the node trusts."""

from collections.abc import Mapping
from dataclasses import dataclass

from cpkit.facts.files import read_files
from cpkit.inventory import Cluster, Node
from cpkit.pki.authorities import CLUSTER_CA, ETCD_CA, FRONT_PROXY_CA
from cpkit.pki.leaves import NAMES
from cpkit.pki.requests import REQUESTS, request_path
from cpkit.ssh import connect, fan_out

TIMEOUT = 10.0
TRUSTED = {"cluster": CLUSTER_CA[0], "etcd": ETCD_CA[0], "front_proxy": FRONT_PROXY_CA[0]}


@dataclass(frozen=True)
class Waiting:
    """The requests of a node by leaf, and the CAs it trusts by name, all as PEM."""

    requests: Mapping[str, str]
    trusted: Mapping[str, str]


def read_requests(cluster: Cluster) -> dict[str, Waiting]:
    """Of every control-plane node; the first that cannot be asked is raised."""
    found: dict[str, Waiting] = {}
    for name, answer in fan_out(cluster.control_plane, _read, deadline=2 * TIMEOUT).items():
        if not isinstance(answer, Waiting):
            answer.node = answer.node or name
            raise answer
        found[name] = answer
    return found


def _read(node: Node) -> Waiting:
    """No key is read: that one is there is all that counts."""
    with connect(node) as connection:
        listed = connection.run(["find", REQUESTS, "-type", "f"], sudo=True, timeout=TIMEOUT).stdout.decode().split()
        names = [name for name in NAMES if {request_path(name, "csr"), request_path(name, "key")} <= set(listed)]
        paths = [*TRUSTED.values(), *(request_path(name, "csr") for name in names)]
        files = {path: data.decode() for path, data in read_files(connection, paths, timeout=TIMEOUT).items()}
    return Waiting(
        {name: files[request_path(name, "csr")] for name in names},
        {name: files[path] for name, path in TRUSTED.items()},
    )
