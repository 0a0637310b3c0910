"""Reads one snapshot: all nodes at once, within a deadline."""

import time
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from contextlib import suppress

from cpkit.errors import CpkitError
from cpkit.facts import endpoint
from cpkit.facts.etcd import Answer
from cpkit.facts.host import Probe
from cpkit.facts.meeting import Meeting
from cpkit.facts.snapshot import EtcdFacts, MemberStatus, NodeFacts, Plan, Snapshot
from cpkit.facts.visit import Reading, Visit, parser, visit
from cpkit.inventory import Cluster, Node
from cpkit.ssh import Connect, connect, fan_out

ENDPOINT = 2.0  # seconds for the API behind the balancer
REVISIONS = 0.7  # seconds the first member waits for the others' revisions


def collect(cluster: Cluster, *, deadline: float = 5.0, connect: Connect = connect) -> Snapshot:
    """Read everything there is to know of a cluster; what cannot be read in time is unknown in the snapshot."""
    began, wall = time.monotonic(), time.time()
    meeting = Meeting((node.name for node in cluster.control_plane), REVISIONS)
    reading = Reading(cluster, meeting, Future(), began + deadline, connect)
    pool = ThreadPoolExecutor(2)
    pool.submit(_warm_up)
    outside = pool.submit(_through_endpoint, reading)
    visits = fan_out(cluster.nodes, lambda node: visit(node, reading), deadline=deadline)
    reading.authority.cancel()  # when no node could tell it, nobody waits for it any longer
    found = {node.name: _settled(node, visits[node.name]) for node in cluster.nodes}
    probe = None
    with suppress(Late):
        probe = outside.result(timeout=reading.left)
    pool.shutdown(wait=False, cancel_futures=True)
    return Snapshot(
        taken=wall,
        seconds=time.monotonic() - began,
        plan=Plan.of(cluster),
        nodes={name: done.facts for name, done in found.items()},
        etcd=_etcd({node.name: found[node.name].etcd for node in cluster.control_plane}),
        endpoint=probe,
    )


def _warm_up() -> None:
    """Import gRPC and build the parser while the SSH handshakes wait for the network."""
    parser()
    from cpkit.etcd import rpc  # noqa: F401


def _through_endpoint(reading: Reading) -> Probe | None:
    try:
        authority = reading.authority.result(timeout=reading.left)
    except (Late, CancelledError):
        return None
    return endpoint.probe(reading.cluster.endpoint, authority, timeout=min(ENDPOINT, reading.left))


def _settled(node: Node, done: Visit | CpkitError) -> Visit:
    if isinstance(done, Visit):
        return done
    facts = NodeFacts(node.name, node.role, node.address, error=done.message, hint=done.hint)
    return Visit(facts, Answer(MemberStatus(error=done.message)))


def _etcd(answers: Mapping[str, Answer]) -> EtcdFacts:
    """The member list comes from a member that has quorum if there is one, for another's may be out of date."""
    listed = [answer for answer in answers.values() if answer.members]
    listed.sort(key=lambda answer: answer.status.linearizable != "")
    return EtcdFacts(
        statuses={name: answer.status for name, answer in answers.items()},
        members=listed[0].members if listed else (),
        revision=max((answer.revision for answer in answers.values()), default=0),
        servers=next((answer.servers for answer in listed if answer.servers is not None), None),
    )
