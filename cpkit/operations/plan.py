"""A plan in words: what a bootstrap is about to do, node by node."""

from cpkit.health.standing import Standing
from cpkit.inventory import Cluster

HEADLINES = {
    "new": "This makes a new cluster",
    "begun": "This finishes a cluster that an earlier run began",
    "running": "This cluster runs; whatever differs from the inventory is shown, and nothing is restarted",
}


def describe(cluster: Cluster, found: Standing) -> str:
    """The plan, one line a node."""
    spec = cluster.spec
    lines = [
        f"{HEADLINES[found.stage]}:",
        f"  {cluster.name}, Kubernetes {spec.kubernetes}, etcd {spec.etcd}, endpoint {cluster.endpoint}",
        "",
    ]
    width = max(len(node.name) for node in cluster.nodes)
    for node in cluster.nodes:
        absent = found.absent.get(node.name, ())
        what = f"+ {', '.join(absent)}" if absent else "= everything runs"
        lines.append(f"  {node.name:{width}}  {node.address:15}  {what}")
    return "\n".join(lines)
