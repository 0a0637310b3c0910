"""Unlock: take away the lock that a dead run left on the nodes."""

import json
from dataclasses import dataclass

from cpkit import ansible
from cpkit.errors import CpkitError
from cpkit.inventory import Cluster, Node
from cpkit.journal import open_run
from cpkit.ssh import connect, fan_out

LOCK = "/run/cpkit/lock.json"
DEADLINE = 10.0


@dataclass(frozen=True)
class Holder:
    """Who holds the lock on a node, and since when, in seconds since the epoch."""

    node: str
    owner: str
    since: int


def holders(cluster: Cluster) -> tuple[Holder, ...]:
    """Who holds the cluster's lock, on every control-plane node that can be asked."""
    found = fan_out(cluster.control_plane, _holder, deadline=DEADLINE)
    return tuple(held for held in found.values() if isinstance(held, Holder))


def unlock(cluster: Cluster, owner: str, *, become_password: str = "") -> None:
    """Release what an owner holds; raises Locked while a run of this machine is still going on."""
    play = ansible.Play(
        "unlock.yml", cluster.inventory, variables={"claim_owner": owner}, become_password=become_password
    )
    with open_run(cluster.name, "unlock") as run, run.step("Release the lock"):
        outcome = ansible.run(play, log=run.log, on_event=lambda _: None, keep_open=(run.lock,))
        if outcome.failures:
            raise ansible.failure(outcome)


def _holder(node: Node) -> Holder | None:
    with connect(node) as connection:
        try:
            held = json.loads(connection.read(LOCK, sudo=True, timeout=5))
        except (CpkitError, ValueError):
            return None  # no lock, or one that says nothing
    return Holder(node.name, str(held.get("owner", "")), int(held.get("since", 0)))
