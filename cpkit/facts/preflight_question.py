"""What each node is asked to measure, given what is known of all of them."""

from ipaddress import ip_address, ip_interface
from pathlib import PurePosixPath
from typing import Any

from cpkit.facts.preflight_snapshot import API_SERVER, ETCD_CLIENTS, ETCD_PEERS, Facts, NodeState
from cpkit.inventory import Cluster

PUBLIC_PORTS = (ETCD_CLIENTS, ETCD_PEERS, API_SERVER)
SERVING = {"etcd.service": (ETCD_CLIENTS, ETCD_PEERS), "kube-apiserver.service": (API_SERVER,)}
FSYNC_WRITES, FSYNC_SECONDS = 2000, 3.0


def questions(cluster: Cluster, states: tuple[NodeState, ...], *, seconds: float) -> dict[str, dict[str, Any]]:
    """For each node that could be read: ports to open and to dial, disk to measure, VIP to ask for."""
    known = [(state, state.facts) for state in states if state.facts]
    return {
        state.name: {
            "network": _network(state, facts, known, seconds),
            "fsync": _fsync(cluster, facts) if state.node.role == "control_plane" else None,
            "vip": _vip(cluster, state, facts) if state.node.role == "load_balancer" else None,
        }
        for state, facts in known
    }


def _dialled(caller: NodeState, target: NodeState) -> tuple[int, ...]:
    """The ports of the target that the caller will need."""
    if caller.name == target.name or target.node.role != "control_plane":
        return ()
    return PUBLIC_PORTS if caller.node.role == "control_plane" else (API_SERVER,)


def _network(state: NodeState, facts: Facts, known: list[tuple[NodeState, Facts]], seconds: float) -> dict[str, Any]:
    callers = {
        str(port): {other.name: _addresses(theirs) for other, theirs in known if port in _dialled(other, state)}
        for port in PUBLIC_PORTS
        if port in _opened(facts) and state.node.role == "control_plane"
    }
    dial = [
        {
            "node": target.name,
            "address": target.node.address,
            "port": port,
            "opened": port in _opened(theirs),
            "coming_up": port in _coming_up(theirs),
        }
        for target, theirs in known
        for port in _dialled(state, target)
    ]
    return {"listen": callers, "dial": dial, "seconds": seconds}


def _opened(facts: Facts) -> set[int]:
    """Ports that the measurement opens on a node, because nothing else does."""
    return set(PUBLIC_PORTS) - {listener.port for listener in facts.listeners} - _coming_up(facts)


def _coming_up(facts: Facts) -> set[int]:
    """Ports of services that an earlier run started: listened to by now or soon, and not for us to open."""
    active = [unit.name for unit in facts.units if unit.active and unit.path.startswith("/etc/systemd/system/")]
    return {port for name in active for port in SERVING.get(name, ())}


def _addresses(facts: Facts) -> list[str]:
    return [str(ip_interface(address).ip) for interface in facts.interfaces for address in interface.addresses]


def _fsync(cluster: Cluster, facts: Facts) -> dict[str, Any] | None:
    if facts.runs_etcd:
        return None  # 2,000 writes would slow a running member down; health has etcd's own figures
    path = PurePosixPath(facts.disks["etcd"].path)
    if str(path) == cluster.spec.etcd_data_dir and not facts.etcd_data_mounted:
        path = path.parent  # the same disk
    return {"path": str(path), "count": FSYNC_WRITES, "seconds": FSYNC_SECONDS}


def _vip(cluster: Cluster, state: NodeState, facts: Facts) -> dict[str, Any] | None:
    if not facts.resolved:
        return None
    vip = ip_address(facts.resolved[0])
    wanted = cluster.spec.load_balancer_interface
    by_name = {interface.name: interface for interface in facts.interfaces}
    interface = by_name.get(wanted) if wanted else facts.interface_of(state.node.address)
    near = interface is not None and any(vip in ip_interface(a).network for a in interface.addresses)
    # Only IPv4 neighbours can be asked by ARP.
    name = interface.name if interface and near and vip.version == 4 else ""
    return {"interface": name, "address": str(vip), "port": cluster.endpoint.port}
