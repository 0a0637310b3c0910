"""How a machine becomes a node: prepared, announced to etcd, caught up, given a vote, and only then put to use."""

from collections.abc import Sequence

from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding
from cpkit.health.change import joining
from cpkit.health.members import membership
from cpkit.health.quorum import State, join
from cpkit.operations import node_plan
from cpkit.operations.members import over_ssh
from cpkit.operations.node_members import Roll
from cpkit.operations.node_run import Work, back, wait
from cpkit.operations.node_telling import balance, tell_servers


def bring_in(work: Work, names: Sequence[str]) -> None:
    """Make nodes of machines that were checked; each step looks first whether it was made already.

    The invariant: data of a member that is gone is moved aside before a new one is announced, so what lies beside an
    announced member is that member's own; and an API server is told of a member only when that has its vote.
    """
    snapshot = work.look_well(names)
    answering = node_plan.present(snapshot)
    present = [name for name in snapshot.plan.control_plane if name in answering]
    emptied = [name for name in names if node_plan.leftover(snapshot, name)]
    with work.locked(present):
        with work.step(f"Prepare {join(names)}"):
            work.play("join_prepare.yml", present, node_present=present, node_joining=list(names), node_emptied=emptied)
        for number, name in enumerate(names):
            _join(work, name, names[number + 1 :])
        with work.step(f"Start the API server and the controllers on {join(names)}"):
            work.play("join_serve.yml", names)
        balance(work, snapshot)
        with work.step(f"Wait until {join(names)} can be relied upon"):
            wait(work, back(names), "it was started, but is not well")
        tell_servers(work)


def _join(work: Work, name: str, later: Sequence[str]) -> None:
    """Make one node a voter of etcd."""
    snapshot = work.look_well([name, *later])
    if node_plan.seat(snapshot, name) is State.HEALTHY:
        return
    joining(membership(snapshot), [name])
    address = next(node.address for node in work.cluster.control_plane if node.name == name)
    url = f"https://{address}:2380"
    roll = Roll(over_ssh(work.cluster), snapshot, [name])
    with work.step(f"Announce {name} to etcd as a learner"):
        listed = roll.announce(url)
    rows = [(member.name or name, peer) for member in listed for peer in member.peer_urls]
    with work.step(f"Start etcd on {name}"):
        work.play("join_etcd.yml", [name], node_members=node_plan.members_line(rows))
    with work.step(f"Give {name} its vote, once it has caught up"):
        roll.promote(url)

        def votes(seen: Snapshot) -> Sequence[Finding]:
            state = node_plan.seat(seen, name)
            healthy = state is State.HEALTHY
            return () if healthy else (Finding("etcd.members", name, "fail", f"its member is {state}", "Wait."),)

        wait(work, votes, "it has its vote, but does not serve")
