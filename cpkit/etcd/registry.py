"""Where API servers keep the resources of the core group in etcd.

Source: k8s.io/kubernetes/pkg/kubeapiserver/default_storage_factory_builder.go, SpecialDefaultResourcePrefixes.
"""

OTHERWISE = {
    "nodes": "minions",
    "replicationcontrollers": "controllers",
    "services": "services/specs",
    "endpoints": "services/endpoints",
}


def prefix(resource: str) -> bytes:
    """What the keys of a resource begin with, as API servers are started by default."""
    return f"/registry/{OTHERWISE.get(resource, resource)}/".encode()


def after(beginning: bytes) -> bytes:
    """The end of the range of all keys that begin so."""
    return beginning[:-1] + bytes([beginning[-1] + 1])
