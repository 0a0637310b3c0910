"""Whether the virtual address is free for the balancers."""

from collections.abc import Iterator

from cpkit.facts.preflight_snapshot import Facts, NodeState, PreflightSnapshot, VipProbe
from cpkit.health.check import fail, ok, unknown, warn
from cpkit.health.preflight_verdict import Verdicts, names, readable


def vip_unused(snapshot: PreflightSnapshot) -> Verdicts:
    """Nobody but our balancers answers for the VIP."""
    vips = {facts.resolved[0] for _, facts in readable(snapshot, "load_balancer") if facts.resolved}
    for vip in sorted(vips):
        answered = {mac for state in snapshot.nodes if (probe := _probe(vip, state)) for mac in probe.macs}
        holders = [
            (state, facts)
            for state, facts in readable(snapshot)
            if facts.interface_of(vip) or _has_taken(state, facts, answered)
        ]
        troubles = [*_held(vip, holders), *_answered(vip, snapshot, holders)]
        yield from troubles
        if troubles:
            continue
        if holders:
            yield ok(f"{vip} is held by {names([state.name for state, _ in holders])}")
        elif not snapshot.quick:
            yield ok(f"nobody answers for {vip}")


def _probe(vip: str, state: NodeState) -> VipProbe | None:
    """What a node that asked for the VIP was answered."""
    probe = state.measured.vip if state.measured else None
    return probe if probe and probe.address == vip else None


def _has_taken(state: NodeState, facts: Facts, answered: set[str]) -> bool:
    """Whether a balancer answers for the VIP that it had not when it was looked into: an earlier run started it."""
    answers = not answered.isdisjoint(interface.mac for interface in facts.interfaces)
    return answers and state.node.role == "load_balancer" and _keeps_alive(facts)


def _keeps_alive(facts: Facts) -> bool:
    return any(unit.name == "keepalived.service" and unit.active for unit in facts.units)


def _held(vip: str, holders: list[tuple[NodeState, Facts]]) -> Verdicts:
    for state, facts in holders:
        remove = _remove(vip, facts)
        if state.node.role == "control_plane":
            hint = f"Choose another VIP, or take it away: `{remove}`."
            yield fail(f"{vip} is set on this control-plane node", hint, node=state.name)
        elif not _keeps_alive(facts):
            hint = f"Nothing would take it away when this balancer fails: `{remove}`."
            yield warn(f"{vip} is set here, but keepalived does not run", hint, node=state.name)


def _remove(vip: str, facts: Facts) -> str:
    """The command that takes the VIP from a node."""
    here = ((i.name, a) for i in facts.interfaces for a in i.addresses if a.partition("/")[0] == vip)
    return " && ".join(f"ip address del {address} dev {name}" for name, address in here)


def _answered(vip: str, snapshot: PreflightSnapshot, holders: list[tuple[NodeState, Facts]]) -> Verdicts:
    ours = {interface.mac for _, facts in holders for interface in facts.interfaces}
    strangers: dict[str, str] = {}
    for state in snapshot.nodes:
        probe = _probe(vip, state)
        if not probe:
            continue
        if probe.error:
            yield unknown(f"could not ask who has {vip}: {probe.error}", "Run preflight again.", node=state.name)
        for who in _strangers(snapshot, probe.macs, ours):
            strangers.setdefault(who, state.name)
        if probe.answers and not holders:
            strangers.setdefault(f"a machine elsewhere ({probe.answers})", state.name)
    for who, asked in strangers.items():
        hint = "Choose a VIP nobody has, or find that machine and take the address from it."
        yield fail(f"{vip} is in use: {asked} got an answer from {who}", hint)


def _strangers(snapshot: PreflightSnapshot, macs: tuple[str, ...], ours: set[str]) -> Iterator[str]:
    known = {i.mac: state.name for state, facts in readable(snapshot) for i in facts.interfaces}
    for mac in macs:
        if mac not in ours:
            yield known.get(mac) or f"a machine outside this inventory ({mac})"
