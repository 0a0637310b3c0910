"""What an operation takes from whichever node gives it: the CA to watch the API with, and a kubeconfig."""

from pathlib import Path

from ruamel.yaml import YAML

from cpkit import kubeconfig
from cpkit.errors import CpkitError
from cpkit.inventory import Cluster, Endpoint
from cpkit.operations.credentials import trusting
from cpkit.operations.listener import Watcher, WatchFactory
from cpkit.ssh import connect


def read_from_any(cluster: Cluster, path: str) -> str:
    """A file that every control-plane node holds, from the first that gives it."""
    error: CpkitError | None = None
    for node in cluster.control_plane:
        try:
            with connect(node) as connection:
                return connection.read(path, sudo=True, timeout=10).decode()
        except CpkitError as failed:
            error = error or failed
    raise error or CpkitError("the cluster has no control-plane node")


def watching(cluster: Cluster, watch: WatchFactory, *, nodes: bool = False) -> Watcher:
    """A watch of the API that has begun: through its endpoint, and if wanted of each node's own server as well.

    Where nodes are watched, a resource is followed, too, as an administrator.
    """
    authority = read_from_any(cluster, "/etc/kubernetes/pki/ca.crt")
    if not nodes:
        return watch(cluster.endpoint, authority, {}, None).start()
    directly = {node.name: Endpoint(node.address) for node in cluster.control_plane}
    administrator = trusting(YAML(typ="safe").load(read_from_any(cluster, "/etc/kubernetes/admin.conf")))
    return watch(cluster.endpoint, authority, directly, administrator).start()


def write_kubeconfig(cluster: Cluster, path: Path, *, merge: bool) -> None:
    """Write the administrators' kubeconfig at a path of the operator's."""
    kubeconfig.write(path, read_from_any(cluster, "/etc/kubernetes/admin.conf"), cluster.name, merge=merge)
