"""The floor: the same binaries and units, started by hand on all nodes at once, without Ansible and without checks."""

import time

from bench.model import Floor
from bench.payload import files_of, payload, script
from bench.ready import Observer
from bench.texts import Texts
from cpkit.inventory import Cluster, Node
from cpkit.pki import create
from cpkit.pki.node import super_admin
from cpkit.ssh import connect, fan_out

PUSH_DEADLINE = 60.0


def bring_up(cluster: Cluster, texts: Texts) -> Floor:
    """From the first key to a control plane that answers through its VIP."""
    began = time.monotonic()
    spec = cluster.spec
    authorities = create(key_type=spec.pki_key_type, ca_days=spec.pki_ca_days)

    def push(node: Node) -> None:
        tar = payload(files_of(node, cluster, texts[node.name], authorities))
        with connect(node) as connection:
            argv = ["sh", "-c", script(node, cluster)]
            done = connection.run(argv, stdin=tar, sudo=True, timeout=PUSH_DEADLINE)
        if done.rc:
            raise RuntimeError(done.stderr.decode(errors="replace"))

    for outcome in fan_out(cluster.nodes, push, deadline=PUSH_DEADLINE).values():
        if isinstance(outcome, Exception):
            raise outcome
    laid_down = time.monotonic() - began
    observer = Observer(cluster, authorities.cluster.certificate_pem, *super_admin(authorities, key_type="ecdsa-p256"))
    seen = observer.await_ready()
    return Floor(
        laid_down=laid_down,
        api_ready=laid_down + seen["api"],
        leases_held=laid_down + seen["leases"],
        endpoint_ready=laid_down + seen["endpoint"],
    )
