"""One visit to one node: one SSH connection, one run of the agent, and its etcd member beside it."""

import json
import time
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from pydantic import TypeAdapter, ValidationError

from cpkit.errors import CpkitError
from cpkit.facts import certificates, clock, member
from cpkit.facts.etcd import Answer, ask
from cpkit.facts.host import Report
from cpkit.facts.meeting import Meeting
from cpkit.facts.snapshot import MemberStatus, NodeFacts
from cpkit.inventory import Cluster, Node
from cpkit.packed import program
from cpkit.ssh import Connect, Connection

CONNECT = 2.5  # seconds until a node counts as unreachable
CALL = 2.0  # seconds for one call to etcd
RETURN = 0.7  # seconds the agent's answer may need once its time is over


@dataclass(frozen=True)
class Visit:
    """What one connection to one node brought back."""

    facts: NodeFacts
    etcd: Answer


@dataclass(frozen=True)
class Reading:
    """What the visits of one reading share."""

    cluster: Cluster
    meeting: Meeting
    authority: "Future[str]"  # the cluster's CA, from whichever node tells it first
    end: float  # by the monotonic clock
    connect: Connect

    @property
    def left(self) -> float:
        """Seconds left to read."""
        return max(0.1, self.end - time.monotonic())


def visit(node: Node, reading: Reading) -> Visit:
    """Read one node; raises Unreachable when there is no way in."""
    try:
        with reading.connect(node, timeout=min(CONNECT, reading.left)) as connection, ThreadPoolExecutor(1) as beside:
            facts = beside.submit(_facts, connection, node, reading)
            answer = _member(connection, reading) if node.role == "control_plane" else Answer(MemberStatus())
            return Visit(facts.result(), answer)
    finally:
        reading.meeting.bring(node.name, None)


@cache
def parser() -> TypeAdapter[Report]:
    """What turns the agent's document into values."""
    return TypeAdapter(Report)


@cache
def agent() -> bytes:
    """What is sent to the nodes: the modules of the agent as one program, and nothing of the packages around them."""
    return program("cpkit.facts.agent").encode()


def _facts(connection: Connection, node: Node, reading: Reading) -> NodeFacts:
    argument = json.dumps(
        {
            "role": node.role,
            "address": node.address,
            "peers": {peer.name: peer.address for peer in reading.cluster.control_plane if peer.name != node.name},
            "data_dir": reading.cluster.spec.etcd_data_dir,
            "seconds": max(1.0, reading.left - RETURN),
        }
    )
    blank = NodeFacts(name=node.name, role=node.role, address=node.address)
    sent = time.time()
    try:
        done = connection.run(["python3", "-IS", "-", argument], stdin=agent(), sudo=True, timeout=reading.left)
        back = time.time()
        if done.rc:
            return _failed(blank, f"the agent failed: {_last_line(done.stderr)}")
        report = parser().validate_json(done.stdout)
    except CpkitError as error:
        return _failed(blank, error.message, error.hint)
    except ValidationError as error:
        return _failed(blank, f"the agent's answer cannot be read: {error.errors()[0]['msg']}")
    return NodeFacts(
        name=node.name,
        role=node.role,
        address=node.address,
        host=report.host,
        certificates=certificates.parse(report.certificates),
        served=certificates.parse_served(report.served),
        clock=clock.reading(report.clock, sent, back),
    )


def _failed(blank: NodeFacts, error: str, hint: str = "") -> NodeFacts:
    advice = hint or f"On {blank.name}: it needs python3 (3.9 or newer) and sudo for the SSH user."
    return NodeFacts(blank.name, blank.role, blank.address, error=error, hint=advice)


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _member(connection: Connection, reading: Reading) -> Answer:
    """Ask the node's member with the node's own health-check certificate, whose key stays in this process's memory."""
    try:
        held = member.credentials(connection, timeout=reading.left)
        with suppress(InvalidStateError):
            reading.authority.set_result(held.cluster.decode())
        with member.client(connection, held, timeout=CALL) as client:
            return ask(client, reading.meeting)
    except CpkitError as error:
        return Answer(MemberStatus(error=error.message))
