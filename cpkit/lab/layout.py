"""What a lab consists of: names and addresses, all of them decided by its name, number and sizes."""

import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from cpkit.errors import UsageError
from cpkit.versions import version_table

DEFAULT_LAB = "lab"
# Labs that are committed as inventories keep their network on every machine.
RESERVED_NUMBERS = {"lab": 0, "lab5": 5}
CONTROL_PLANE_SIZES = (1, 3, 5, 7)
MAX_BALANCERS = 2
MAX_SPARES = 8

MachineRole = Literal["control_plane", "load_balancer", "spare"]
# How the machines of each role are named, and the address of the first.
_ROLES: dict[MachineRole, tuple[str, int]] = {
    "control_plane": ("cp", 11),
    "load_balancer": ("lb", 21),
    "spare": ("sp", 31),
}
_LAB_NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")


@dataclass(frozen=True)
class Machine:
    """One machine of a lab."""

    name: str
    role: MachineRole
    address: str

    @property
    def mac(self) -> str:
        """Its hardware address: always the same, as neighbours would talk to the old one for seconds otherwise."""
        return "02:cb:" + ":".join(f"{octet:02x}" for octet in IPv4Address(self.address).packed)


@dataclass(frozen=True)
class Layout:
    """A lab's name, network and sizes."""

    name: str
    number: int  # the third octet of its network
    control_plane: int = 3
    balancers: int = 2
    spares: int = 0
    kubernetes_version: str = ""  # the version table's default when empty

    @property
    def network(self) -> IPv4Network:
        """The lab's own network."""
        return IPv4Network(f"10.203.{self.number}.0/24")

    @property
    def vip(self) -> str:
        """The address of the API: held by a balancer, or by cp1 in a lab without balancers."""
        return str(self.network[100])

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Every machine, control plane first."""
        sizes: dict[MachineRole, int] = {
            "control_plane": self.control_plane,
            "load_balancer": self.balancers,
            "spare": self.spares,
        }
        return tuple(
            Machine(f"{prefix}{index + 1}", role, str(self.network[first + index]))
            for role, (prefix, first) in _ROLES.items()
            for index in range(sizes[role])
        )

    def machine(self, name: str) -> Machine:
        """The machine of that name; UsageError when the lab has none."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        names = ", ".join(machine.name for machine in self.machines)
        raise UsageError(f"lab {self.name!r} has no node {name!r}", hint=f"Its nodes: {names}.")

    def container(self, machine: Machine) -> str:
        """The name of a machine's container."""
        return f"{self.network_name}-{machine.name}"

    @property
    def network_name(self) -> str:
        """The name of the container network."""
        return f"cpkit-{self.name}"


@dataclass(frozen=True)
class Sizes:
    """What `up` was asked for; None keeps what the lab has, or the default."""

    control_plane: int | None = None
    balancers: int | None = None
    spares: int | None = None
    kubernetes_version: str | None = None


def checked_name(name: str) -> str:
    """The name itself; UsageError when it cannot name a lab."""
    if not _LAB_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a lab",
            hint="Use 1 to 20 of a-z, 0-9 and -, beginning with a letter and not ending with -.",
        )
    return name


def new_layout(name: str, number: int, sizes: Sizes) -> Layout:
    """The layout of a new lab; UsageError for sizes that make no cluster."""
    return grown(Layout(checked_name(name), number), sizes, shrink=True)


def grown(layout: Layout, sizes: Sizes, *, shrink: bool = False) -> Layout:
    """The layout with the sizes asked for; UsageError when they are impossible or would take machines away."""
    _check_sizes(sizes)
    wanted = replace(
        layout,
        control_plane=layout.control_plane if sizes.control_plane is None else sizes.control_plane,
        balancers=layout.balancers if sizes.balancers is None else sizes.balancers,
        spares=layout.spares if sizes.spares is None else sizes.spares,
        kubernetes_version=_version(layout, sizes),
    )
    lost = [machine.name for machine in layout.machines if machine not in wanted.machines]
    if lost and not shrink:
        raise UsageError(
            f"lab {layout.name!r} already has {', '.join(lost)}, and `up` only adds",
            hint=f"Ask for at least what it has, or begin anew: cpkit lab down {layout.name}",
        )
    return wanted


def _version(layout: Layout, sizes: Sizes) -> str:
    asked = layout.kubernetes_version if sizes.kubernetes_version is None else sizes.kubernetes_version
    return str(version_table().meant(asked)) if asked else ""


def _check_sizes(sizes: Sizes) -> None:
    if sizes.control_plane is not None and sizes.control_plane not in CONTROL_PLANE_SIZES:
        raise UsageError(
            f"{sizes.control_plane} control-plane nodes make no sound cluster",
            hint="Use 1, 3, 5 or 7: an even number tolerates no more failures than the odd one below it.",
        )
    if sizes.balancers is not None and not 0 <= sizes.balancers <= MAX_BALANCERS:
        raise UsageError(f"a lab has 0 to {MAX_BALANCERS} balancers, not {sizes.balancers}")
    if sizes.spares is not None and not 0 <= sizes.spares <= MAX_SPARES:
        raise UsageError(f"a lab has 0 to {MAX_SPARES} spare nodes, not {sizes.spares}")
