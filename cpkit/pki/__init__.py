"""The cluster's public-key infrastructure: authorities, leaves and kubeconfigs, all in memory."""

from cpkit.pki.authorities import Authorities, adopt, create
from cpkit.pki.certificates import Authority
from cpkit.pki.leaves import NodeIdentity
from cpkit.pki.node import NodeFile, derived_paths, ended, handed_files, held_paths, leaf_files, node_files
from cpkit.pki.renewal import Renewal

__all__ = [
    "Authorities",
    "Authority",
    "NodeFile",
    "NodeIdentity",
    "Renewal",
    "adopt",
    "create",
    "derived_paths",
    "ended",
    "handed_files",
    "held_paths",
    "leaf_files",
    "node_files",
]
