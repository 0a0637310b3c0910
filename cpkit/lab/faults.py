"""Failures on purpose: machines that stop, freeze or lose their network."""

from collections.abc import Collection
from typing import Any

from cpkit.errors import CpkitError, UsageError
from cpkit.lab import store
from cpkit.lab.engine import engine_errors, find_engine
from cpkit.lab.layout import DEFAULT_LAB, Layout, Machine
from cpkit.lab.lifecycle import Progress, on_each
from cpkit.lab.machines import containers, finish_boot, resume, to_make

STOP_SECONDS = 30
TABLE = "cpkit_lab"
_VRRP = "224.0.0.18"
_HEAL = f"nft list table inet {TABLE} >/dev/null 2>&1 || exit 0; nft delete table inet {TABLE} && echo healed"

Target = tuple[Layout, Machine]


def target(text: str) -> Target:
    """The machine that NODE, in the default lab, or LAB/NODE names."""
    lab, _, node = text.rpartition("/")
    layout = store.known_layout(lab or DEFAULT_LAB)
    return layout, layout.machine(node)


def stop(layout: Layout, machines: tuple[Machine, ...], *, at_once: bool) -> None:
    """Shut machines down, or cut their power; what is on their disks stays."""
    found = _existing(layout, machines)

    def work(machine: Machine) -> bool:
        container = found[machine.name]
        with engine_errors("stopping the machine", node=machine.name):
            state = container.state.status
            if state == "paused" and not at_once:
                container.unpause()
            if state in ("running", "paused"):
                container.kill() if at_once else container.stop(time=STOP_SECONDS)
        return True

    on_each(machines, work)


def start(layout: Layout, machines: tuple[Machine, ...], progress: Progress) -> None:
    """Start machines that stopped or froze, and wait until they take SSH."""
    found = _existing(layout, machines)

    def work(machine: Machine) -> bool:
        resume(found[machine.name], machine, lambda text: progress(machine.name, text))
        finish_boot(find_engine(), layout, machine, lambda text: progress(machine.name, text))
        return True

    on_each(machines, work)


def pause(layout: Layout, machines: tuple[Machine, ...]) -> None:
    """Freeze every process of machines: their kernel still answers, nothing else does."""
    found = _existing(layout, machines)
    for machine in machines:
        with engine_errors("freezing the machine", node=machine.name):
            found[machine.name].pause()


def unpause(layout: Layout, machines: tuple[Machine, ...]) -> None:
    """Let frozen machines go on."""
    found = _existing(layout, machines)
    for machine in machines:
        with engine_errors("unfreezing the machine", node=machine.name):
            found[machine.name].unpause()


def partition(layout: Layout, machine: Machine, others: tuple[Machine, ...], *, one_way: bool) -> None:
    """Drop packets between a machine and others, or with one_way only those it sends; adds to earlier partitions."""
    if machine in others:
        raise UsageError(f"{machine.name} cannot be parted from itself")
    container = _existing(layout, (machine,))[machine.name]
    rules = ruleset(addresses(layout, machine, others), one_way=one_way)
    with engine_errors("parting the machine", node=machine.name, hint="A stopped or frozen machine cannot be parted."):
        container.execute(["nft", rules])


def heal(layout: Layout, machines: tuple[Machine, ...]) -> tuple[str, ...]:
    """Undo the partitions of machines, and name those that had one."""
    found = containers(find_engine(), layout.name)
    present = tuple(machine for machine in machines if machine.name in found)

    def work(machine: Machine) -> bool:
        container = found[machine.name]
        with engine_errors("healing the machine", node=machine.name):
            state = container.state.status
            if state == "paused":
                raise CpkitError("is frozen", node=machine.name, hint="Unfreeze it first: cpkit lab unpause")
            # A machine that does not run has no network left to heal.
            return state == "running" and bool(container.execute(["sh", "-c", _HEAL]))

    return tuple(machine.name for machine, healed in on_each(present, work).items() if healed)


def addresses(layout: Layout, machine: Machine, others: Collection[Machine]) -> tuple[str, ...]:
    """Every address behind which a machine would meet the others."""
    found = [other.address for other in others]
    holders = [one for one in layout.machines if one.role == "load_balancer"] or [layout.machine("cp1")]
    if set(holders) - {machine} <= set(others):
        found.append(layout.vip)
    if machine.role == "load_balancer" and any(other.role == "load_balancer" for other in others):
        found.append(_VRRP)
    return tuple(found)


def ruleset(blocked: Collection[str], *, one_way: bool) -> str:
    """The nftables commands that drop packets to these addresses and, unless one_way, from them."""
    members = ", ".join(blocked)
    rules = f"""
add table inet {TABLE}
add set inet {TABLE} unsent {{ type ipv4_addr; }}
add set inet {TABLE} unheard {{ type ipv4_addr; }}
add chain inet {TABLE} out {{ type filter hook output priority -300; }}
add chain inet {TABLE} in {{ type filter hook input priority -300; }}
flush chain inet {TABLE} out
flush chain inet {TABLE} in
add rule inet {TABLE} out oifname != "lo" ip daddr @unsent counter drop
add rule inet {TABLE} in iifname != "lo" ip saddr @unheard counter drop
add element inet {TABLE} unsent {{ {members} }}
"""
    return rules if one_way else f"{rules}add element inet {TABLE} unheard {{ {members} }}\n"


def _existing(layout: Layout, machines: tuple[Machine, ...]) -> dict[str, Any]:
    found = containers(find_engine(), layout.name)
    for machine in machines:
        if to_make(found.get(machine.name)):
            raise CpkitError(
                "its container is gone or was never started",
                node=machine.name,
                hint=f"Make it anew: cpkit lab up {layout.name}",
            )
    return found
