"""Many objects at once: written to etcd byte for byte as an API server stores them."""

import uuid
from collections.abc import Sequence

from cpkit.facts.member import open_member
from cpkit.inventory import load
from tests.e2e.running import Cluster

TRANSACTION = 100  # objects; etcd takes 128 operations


def multiply(cluster: Cluster, resource: str, namespace: str, model: str, names: Sequence[str]) -> None:
    """Make objects that differ from one made through the API in name and UID alone; all names are of one length."""
    uid = cluster.kubectl("get", resource, model, "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    place = f"/registry/{resource}/{namespace}"
    with open_member(load(cluster.lab.inventory).control_plane[0], timeout=30) as client:
        held = client.etcd3.get(f"{place}/{model}")[0]
        assert held.count(uid.encode()) == 1
        put, transaction = client.etcd3.transactions.put, client.etcd3.transaction
        for begin in range(0, len(names), TRANSACTION):
            some = names[begin : begin + TRANSACTION]
            # Lengths are part of the encoding, so nothing but bytes of equal length is exchanged.
            assert {len(name) for name in some} == {len(model)}
            made = {name: held.replace(uid.encode(), str(uuid.uuid4()).encode()) for name in some}
            puts = [put(f"{place}/{name}", data.replace(model.encode(), name.encode())) for name, data in made.items()]
            assert transaction([], puts, [])[0]
