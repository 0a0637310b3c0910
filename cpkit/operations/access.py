"""What an operation takes from whichever node gives it: the CA to watch the API with, and a kubeconfig."""

from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from cpkit import kubeconfig
from cpkit.errors import CpkitError
from cpkit.inventory import Cluster, Endpoint
from cpkit.operations.credentials import trusting
from cpkit.operations.listener import Watcher, WatchFactory
from cpkit.ssh import connect

AUTHORITY, ADMINISTRATOR = "/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/admin.conf"


def read_from_any(cluster: Cluster, path: str) -> str:
    """A file that every control-plane node holds, from the first that gives it."""
    return read_all_from_any(cluster, [path])[path]


def read_all_from_any(cluster: Cluster, paths: Sequence[str]) -> dict[str, str]:
    """Files that every control-plane node holds, all from the first that gives them."""
    error: CpkitError | None = None
    for node in cluster.control_plane:
        try:
            with connect(node) as connection:
                return {path: connection.read(path, sudo=True, timeout=10).decode() for path in paths}
        except CpkitError as failed:
            error = error or failed
    raise error or CpkitError("the cluster has no control-plane node")


def watching(cluster: Cluster, watch: WatchFactory, *, nodes: bool = False) -> Watcher:
    """A watch of the API that has begun: through its endpoint, and if wanted of each node's own server as well.

    Where nodes are watched, a resource is followed, too, as an administrator.
    """
    if not nodes:
        return watch(cluster.endpoint, read_from_any(cluster, AUTHORITY), {}, None).start()
    held = read_all_from_any(cluster, (AUTHORITY, ADMINISTRATOR))
    directly = {node.name: Endpoint(node.address) for node in cluster.control_plane}
    administrator = trusting(YAML(typ="safe").load(held[ADMINISTRATOR]))
    return watch(cluster.endpoint, held[AUTHORITY], directly, administrator).start()


def write_kubeconfig(cluster: Cluster, path: Path, *, merge: bool) -> None:
    """Write the administrators' kubeconfig at a path of the operator's."""
    kubeconfig.write(path, read_from_any(cluster, ADMINISTRATOR), cluster.name, merge=merge)
