"""What adding, removing or replacing a node finds, and what forbids it; pure."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace

from cpkit.errors import CpkitError, Refused, Unreachable, UsageError
from cpkit.facts.snapshot import MemberRow, MemberStatus, NodeFacts, Snapshot
from cpkit.health import Finding, judge
from cpkit.health.change import Stage, even, told
from cpkit.health.check import gate_checks
from cpkit.health.members import membership
from cpkit.health.quorum import State, join
from cpkit.inventory import Cluster

ETCD, API = 2380, 6443  # what a node that is not dead still answers at
FLAG = "etcd-servers"


def reduced(cluster: Cluster, names: Collection[str]) -> Cluster:
    """The cluster without some of its control-plane nodes."""
    return replace(cluster, control_plane=tuple(node for node in cluster.control_plane if node.name not in names))


def label(row: MemberRow) -> str:
    """What a member is called: its name, or its ID before it has started for the first time."""
    return row.name or row.id


def row_of(snapshot: Snapshot, name: str) -> MemberRow | None:
    """The member of a node: at its address, or else of its name, as one whose machine got another address."""
    rows = snapshot.etcd.members
    here = next((row for row in rows if snapshot.member_node(row) == name), None)
    return here or next((row for row in rows if label(row) == name and not snapshot.member_node(row)), None)


def known_as(snapshot: Snapshot, names: Collection[str]) -> Snapshot:
    """The snapshot with the members of these names in its plan, though the inventory has another address or none."""
    for row in snapshot.etcd.members:
        if label(row) in names and not snapshot.member_node(row) and row_of(snapshot, label(row)) == row:
            snapshot = _with_member(snapshot, row)
    return snapshot


def _with_member(snapshot: Snapshot, row: MemberRow) -> Snapshot:
    address = row.peer_urls[0].split("//", 1)[-1].rsplit(":", 1)[0]
    error = "it is not at the address that the inventory has"
    name = label(row)
    silent = NodeFacts(name, "control_plane", address, error=error)
    statuses = {**snapshot.etcd.statuses, name: MemberStatus(error=error)}
    nodes = {other: _undialled(facts, name) for other, facts in snapshot.nodes.items()}
    return replace(
        snapshot,
        plan=replace(snapshot.plan, control_plane={**snapshot.plan.control_plane, name: address}),
        nodes={**nodes, name: silent},
        etcd=replace(snapshot.etcd, statuses=statuses),
    )


def _undialled(facts: NodeFacts, name: str) -> NodeFacts:
    """A node's facts without what it says of this one: it tried the address that the inventory has."""
    if facts.host is None:
        return facts
    peers = {target: error for target, error in facts.host.peers.items() if target.rsplit(":", 1)[0] != name}
    return replace(facts, host=replace(facts.host, peers=peers))


def present(snapshot: Snapshot) -> tuple[str, ...]:
    """The nodes that answer, of both kinds."""
    return tuple(name for name, facts in snapshot.nodes.items() if facts.host is not None)


def unheard(snapshot: Snapshot, *, etcd: bool) -> tuple[str, ...]:
    """The nodes that did not answer, or whose member did not, if it was to."""
    statuses = snapshot.etcd.statuses if etcd else {}
    silent = {name for name, facts in snapshot.nodes.items() if facts.host is None}
    return tuple(sorted(silent | {name for name, status in statuses.items() if status.error}))


def stopped(snapshot: Snapshot, name: str) -> bool:
    """Whether it is known of a node, by the node itself, that its etcd does not run."""
    host = snapshot.nodes[name].host if name in snapshot.nodes else None
    unit = host.units.get("etcd") if host else None
    return host is not None and not (unit and unit.running)


def others(snapshot: Snapshot, names: Collection[str]) -> tuple[Finding, ...]:
    """What is not well with the rest of the cluster, by the checks that may hold up a change.

    What these nodes say of the others does not count: a machine that is to join reaches nobody's ports yet.
    """
    quiet = {
        name: replace(facts, host=replace(facts.host, peers={})) if facts.host and name in names else facts
        for name, facts in snapshot.nodes.items()
    }
    snapshot = replace(snapshot, nodes=quiet)
    return tuple(found for found in judge(snapshot, gate_checks("before")) if found.node not in names and found.blocks)


def refuse_unwell(snapshot: Snapshot, names: Collection[str], *, allow_degraded: bool) -> None:
    """Raise unless the rest of the cluster is well; a degraded one may do, and the arithmetic is another matter."""
    blocking = () if allow_degraded else others(snapshot, names)
    if blocking:
        first = blocking[0]
        kind = Refused if any(found.level == "fail" for found in blocking) else Unreachable
        raise kind(
            f"the rest of the cluster is not well: {first.check}: {first.text}",
            node=first.node,
            hint=f"{first.hint}\n  Nothing was changed. If it has to be now, and quorum allows it: --allow-degraded",
        )


def refuse_strangers(snapshot: Snapshot) -> None:
    """Raise while etcd has a member that is no node of the inventory."""
    for row in snapshot.etcd.members:
        if not snapshot.member_node(row):
            raise Refused(
                f"etcd has a member {label(row)} at {join(row.peer_urls)}, which is no node of the inventory",
                hint=f"If it is gone for good: cpkit node remove {label(row)}",
            )


def reached(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    """The nodes that a node answers on etcd's port or the API's."""
    ports = [f"{name}:{port}" for port in (ETCD, API)]
    return tuple(
        other
        for other, facts in snapshot.nodes.items()
        if facts.host and any(facts.host.peers.get(port) == "" for port in ports)
    )


def refuse_alive(snapshot: Snapshot, name: str) -> None:
    """Raise when a node does not let us in, and still answers its peers: it is not dead, and must not come back."""
    if name not in snapshot.nodes or snapshot.nodes[name].host is not None:
        return
    by = reached(snapshot, name)
    if by:
        raise Refused(
            f"it does not let us in ({snapshot.nodes[name].error}), but answers {join(by)}",
            node=name,
            hint="It would go on beside the cluster. Power it off, or let it be reached over SSH.",
        )
    address = snapshot.plan.control_plane[name]
    dialled = any(f"{name}:{ETCD}" in facts.host.peers for facts in snapshot.nodes.values() if facts.host)
    if not dialled and address in (snapshot.etcd.servers or ()):
        raise Refused(
            f"its API server serves at {address} still",
            node=name,
            hint="It would go on beside the cluster. Power it off; 15 s later it counts as gone.",
        )


def seat(snapshot: Snapshot, name: str) -> State | None:
    """What a node's member is at the moment; None when it has none."""
    found = next((member for member in membership(snapshot).members if member.name == name), None)
    return found.state if found else None


def lost(snapshot: Snapshot, name: str) -> bool:
    """Whether the member of a node has started once, and its machine answers and has no data of it any longer."""
    row, host = row_of(snapshot, name), snapshot.nodes[name].host
    return row is not None and bool(row.name) and host is not None and host.etcd_data is False


def leftover(snapshot: Snapshot, name: str) -> bool:
    """Whether a machine has etcd's data, and is no member: what it has is of a member that is gone."""
    host = snapshot.nodes[name].host
    return row_of(snapshot, name) is None and host is not None and bool(host.etcd_data)


def knows(snapshot: Snapshot, node: str, servers: str) -> bool:
    """Whether the API server that runs on a node was started with this list of etcd's members."""
    host = snapshot.nodes[node].host
    return host is not None and host.flags.get(FLAG) == servers


def servers(addresses: Sequence[str]) -> str:
    """A list of etcd's members as the agent tells it: the flag's digest, whatever the order."""
    urls = sorted(f"https://{address}:2379" for address in addresses)
    return hashlib.sha256(",".join(urls).encode()).hexdigest()[:16]


def members_line(rows: Sequence[tuple[str, str]]) -> str:
    """Names and peer URLs as etcd's first start wants them."""
    return ",".join(f"{name}={url}" for name, url in rows)


def named(given: Sequence[str], cluster: Cluster) -> dict[str, str]:
    """NAME=ADDRESS, or the name of a node that the inventory has: name and address."""
    held = {node.name: node.address for node in cluster.control_plane}
    wanted: dict[str, str] = {}
    for words in given:
        name, _, address = words.partition("=")
        if not address and name not in held:
            raise UsageError(f"{name!r} is not in the inventory", hint=f"Give its address: {name}=10.0.0.14")
        if address and held.get(name, address) != address:
            raise UsageError(
                f"{name} has the address {held[name]} in the inventory, not {address}",
                hint=f"To give a machine's place to another one: cpkit node replace {name} --address {address}",
            )
        wanted[name] = address or held[name]
    return wanted


def headed(head: str, stages: Sequence[Stage], *more: str) -> str:
    """A plan in lines, for whoever has to agree to it."""
    warning = even(len(stages[-1].members.voters))
    return "\n".join([head, *told(stages), *more, *([f"  ▲ {warning}"] if warning else [])])


def unwell(findings: Sequence[Finding], what: str) -> None:
    """Raise what a wait ended with, unless all is well."""
    blocking = [found for found in findings if found.blocks]
    if blocking:
        raise CpkitError(
            f"{what}: {blocking[0].check}: {blocking[0].text}",
            node=blocking[0].node,
            hint=f"{blocking[0].hint}\n  Then run the same command again: it goes on where it stopped.",
        )
