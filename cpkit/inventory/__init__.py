from cpkit.inventory.checks import refuse_even
from cpkit.inventory.cluster import Cluster, Endpoint, Node, SshTarget
from cpkit.inventory.loading import load
from cpkit.inventory.problems import InvalidInventory, Place, Problem
from cpkit.inventory.spec import ClusterSpec

__all__ = [
    "Cluster",
    "ClusterSpec",
    "Endpoint",
    "InvalidInventory",
    "Node",
    "Place",
    "Problem",
    "SshTarget",
    "load",
    "refuse_even",
]
