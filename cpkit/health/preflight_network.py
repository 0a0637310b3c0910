"""Whether the machines can be told apart, and reach each other."""

from collections import defaultdict
from ipaddress import ip_address, ip_interface

from cpkit.facts.preflight_snapshot import (
    PRIVATE_PORTS,
    Facts,
    Listener,
    NodeState,
    PreflightSnapshot,
    needed_ports,
)
from cpkit.health.check import Verdict, fail, ok, unknown, warn
from cpkit.health.preflight_verdict import Verdicts, names, readable

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104
WHY = {
    "timeout": "no answer",
    "refused": "refused",
    "no route": "no route, or rejected by a firewall",
}


def names_unique(snapshot: PreflightSnapshot) -> Verdicts:
    """No two machines have the same hostname or machine ID."""
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for state, facts in readable(snapshot):
        alike["hostname", facts.hostname.lower()].append(state.name)
        alike["machine ID", facts.machine_id].append(state.name)
    hints = {
        "hostname": "Set another with `hostnamectl set-hostname NAME`: leases and API servers are told apart by it.",
        "machine ID": "Clones, or one machine twice. On a clone: `rm /etc/machine-id; systemd-machine-id-setup`.",
    }
    for state, facts in readable(snapshot):
        shared = False
        for kind, value in (("hostname", facts.hostname.lower()), ("machine ID", facts.machine_id)):
            others = [name for name in alike[kind, value] if name != state.name]
            if others:
                shared = True
                yield fail(f"has the {kind} {value} of {names(others)}", hints[kind], node=state.name)
        if not shared:
            yield ok(f"hostname {facts.hostname}", node=state.name)


def addresses_unique(snapshot: PreflightSnapshot) -> Verdicts:
    """Each node's address is its own."""
    everyone = list(readable(snapshot))
    for state, facts in everyone:
        address = state.node.address
        others = [other.name for other, theirs in everyone if other is not state and theirs.interface_of(address)]
        if not facts.interface_of(address):
            text = f"{address} is on none of its interfaces"
            hint = "Set node_address in its host_vars to the address the other nodes reach it at."
            yield fail(text, hint, node=state.name)
        elif others:
            hint = "Two machines with one address lose each other's packets. Give one of them another."
            yield fail(f"{address} is also on {names(others)}", hint, node=state.name)
        else:
            yield ok(address, node=state.name)


def _ours(listener: Listener, facts: Facts, cluster: str) -> bool:
    proxy = listener.unit == "haproxy.service" and (facts.balancing_managed or facts.marker_name == cluster)
    return listener.installed_by_cpkit or proxy


def _in_the_way(listener: Listener, address: str) -> bool:
    if listener.address in WILDCARDS or ip_address(listener.address).is_loopback:
        return True
    return listener.port not in PRIVATE_PORTS and listener.address == address


def _holder(found: Listener) -> tuple[str, str]:
    """Who holds a port, and how to end that."""
    if found.unit:
        return f"{found.process} ({found.unit})", f"`systemctl disable --now {found.unit}`"
    if found.pid:
        return f"{found.process} (pid {found.pid}: {found.command})", f"`kill {found.pid}`"
    return "an unknown process", "find it with `ss -ltnp`"


def ports_free(snapshot: PreflightSnapshot) -> Verdicts:
    """The ports cpkit's services will listen on are free, or theirs already."""
    cluster = snapshot.cluster
    for state, facts in readable(snapshot):
        needed = needed_ports(cluster, state.node)
        held = {
            (found.port, found.pid): found
            for found in facts.listeners
            if _in_the_way(found, state.node.address) and not _ours(found, facts, cluster.name)
        }
        for (port, _), found in sorted(held.items()):
            who, remedy = _holder(found)
            text = f"port {port}, needed for {needed.get(port, 'cpkit')}, is held by {who}"
            yield fail(text, f"Stop it, or move it to another port: {remedy}.", node=state.name)
        if not held:
            yield ok(f"{len(needed)} ports", node=state.name)


def ports_reachable(snapshot: PreflightSnapshot) -> Verdicts:
    """The etcd and API ports of every control-plane node can be reached from where they are needed."""
    failed: dict[tuple[str, str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for state in snapshot.nodes:
        if state.unmeasured:
            yield unknown(state.unmeasured, "Run preflight again.", node=state.name)
        if not state.measured or not state.measured.dials:
            continue
        for dial in state.measured.dials:
            if dial.error:
                failed[dial.node, dial.address, dial.error][state.name].append(dial.port)
        if not any(dial.error for dial in state.measured.dials):
            yield ok(f"{len(state.measured.dials)} reached", node=state.name)
    busy = {state.name: state.measured.busy for state in snapshot.nodes if state.measured}
    for (target, address, why), callers in failed.items():
        yield from _unreached(target, address, why, callers, busy.get(target, {}))


def _unreached(
    target: str, address: str, why: str, callers: dict[str, list[int]], unopened: dict[int, str]
) -> Verdicts:
    """One verdict for all who fail alike: a firewall on one node is one trouble, not as many as there are nodes."""
    by_ports: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for caller, failed in callers.items():
        by_ports[tuple(sorted(failed))].append(caller)
    for ports, who in by_ports.items():
        listed = ",".join(map(str, ports))
        if all(port in unopened for port in ports):
            text = f"{target}:{listed} could not be tried from {names(who)} ({unopened[ports[0]]})"
            yield unknown(text, "Run preflight again.", node=target)
            continue
        hint = (
            f"Let TCP {listed} through to {address}: see `nft list ruleset` on {target}, then on "
            f"{who[0] if len(who) == 1 else 'the others'}, then security groups and routes between them."
        )
        yield fail(f"{names(who)} cannot reach {target}:{listed} ({WHY.get(why, why)})", hint, node=target)


def endpoint_binding(snapshot: PreflightSnapshot) -> Verdicts:
    """The endpoint resolves, and the balancers' network carries it."""
    cluster = snapshot.cluster
    for state, facts in readable(snapshot, "load_balancer" if cluster.load_balancers else "control_plane"):
        host = cluster.endpoint.host
        if not facts.resolved:
            hint = f"Add {host} to DNS or to /etc/hosts, or name an address in cluster_endpoint."
            yield fail(f"{host} does not resolve", hint, node=state.name)
        elif cluster.load_balancers:
            yield _carried(state, facts, cluster.spec.load_balancer_interface)
        else:
            yield ok(f"{host} is {names(list(facts.resolved))}", node=state.name)


def _carried(state: NodeState, facts: Facts, wanted: str) -> Verdict:
    vip = ip_address(facts.resolved[0])
    by_name = {interface.name: interface for interface in facts.interfaces}
    if wanted and wanted not in by_name:
        hint = f"Set load_balancer_interface to one of {names(sorted(by_name))}." if by_name else ""
        return fail(f"it has no interface {wanted}", hint, node=state.name)
    interface = by_name[wanted] if wanted else facts.interface_of(state.node.address)
    if not interface:
        return unknown(
            f"no interface of it carries {state.node.address}", "Set node_address in its host_vars.", node=state.name
        )
    if not any(vip in ip_interface(address).network for address in interface.addresses):
        text = f"{vip} is outside the networks of {interface.name} ({', '.join(interface.addresses)})"
        return warn(text, "Machines elsewhere reach it only if a route leads to the balancers.", node=state.name)
    return ok(f"{vip} on {interface.name}", node=state.name)
