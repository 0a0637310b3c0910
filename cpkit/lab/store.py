"""What a lab keeps on this machine: its layout, its keys and its inventory, in one directory."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from ipaddress import IPv4Address
from pathlib import Path

from cpkit.errors import CpkitError, UsageError
from cpkit.lab.keys import ensure_key
from cpkit.lab.layout import RESERVED_NUMBERS, Layout
from cpkit.lab.rendering import all_yml, hosts_yml, known_hosts
from cpkit.paths import state_dir

KEY_NAME = "id_ed25519"


def labs_dir() -> Path:
    """The directory that holds every lab's own."""
    return state_dir() / "labs"


def lab_dir(name: str) -> Path:
    """The directory of one lab."""
    return labs_dir() / name


def inventory_dir(name: str) -> Path:
    """The inventory of one lab."""
    return lab_dir(name) / "inventory"


def node_dir(name: str, machine: str) -> Path:
    """What is laid into one machine's /etc/ssh before its first boot."""
    return lab_dir(name) / "nodes" / machine


def prepared_machines(name: str) -> tuple[str, ...]:
    """The machines of a lab that were ever made ready to be created."""
    return tuple(sorted(path.name for path in (lab_dir(name) / "nodes").glob("*")))


def lab_names() -> tuple[str, ...]:
    """The labs this machine knows."""
    return tuple(sorted(path.parent.name for path in labs_dir().glob("*/lab.json")))


def load_layout(name: str) -> Layout | None:
    """The layout of a lab, or None when there is none of that name."""
    path = lab_dir(name) / "lab.json"
    try:
        return Layout(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise CpkitError(f"{path} cannot be read: {error}", hint=f"Begin anew: cpkit lab down {name}") from error


def known_layout(name: str) -> Layout:
    """The layout of a lab; UsageError, naming those there are, when there is none of that name."""
    layout = load_layout(name)
    if layout is None:
        known = ", ".join(lab_names())
        raise UsageError(
            f"there is no lab {name!r}", hint=f"Labs here: {known}." if known else f"Make it: cpkit lab up {name}"
        )
    return layout


def save(layout: Layout, *, new_variables: bool) -> None:
    """Write the layout, its keys and its inventory; variables the user edited stay unless new ones are asked for."""
    directory = lab_dir(layout.name)
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "lab.json", json.dumps(asdict(layout), indent=2) + "\n")
    operator = ensure_key(directory / KEY_NAME, f"cpkit-lab-{layout.name}")
    host_keys = {}
    for machine in layout.machines:
        node = node_dir(layout.name, machine.name)
        node.mkdir(parents=True, exist_ok=True)
        host_keys[machine.name] = ensure_key(node / "ssh_host_ed25519_key", "").strip()
        _write(node / "authorized_keys", operator + "\n")
    inventory = inventory_dir(layout.name)
    _write(inventory / "hosts.yml", hosts_yml(layout))
    _write(inventory / "known_hosts", known_hosts(layout, host_keys))
    variables = inventory / "group_vars" / "all.yml"
    if new_variables or not variables.exists():
        _write(variables, all_yml(layout, under_home(directory)))


def forget(name: str) -> None:
    """Remove everything kept of a lab."""
    directory = lab_dir(name)
    if directory.exists():
        shutil.rmtree(directory)


def under_home(path: Path) -> str:
    """The path as a user writes it: with ~ where it is under the home directory."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def free_number(name: str) -> int:
    """The number of the network for a new lab: its reserved one, or the first that nothing here uses."""
    if name in RESERVED_NUMBERS:
        return RESERVED_NUMBERS[name]
    layouts = [load_layout(other) for other in lab_names()]
    taken = {layout.number for layout in layouts if layout} | set(RESERVED_NUMBERS.values())
    taken |= routed_numbers(Path("/proc/net/route").read_text())
    free = next((number for number in range(1, 255) if number not in taken), None)
    if free is None:
        raise CpkitError("no network is left for another lab", hint="Remove one: cpkit lab list, cpkit lab down NAME")
    return free


def routed_numbers(table: str) -> set[int]:
    """The numbers of 10.203.N.0 networks that the host's routing table already leads somewhere."""
    numbers = set()
    for line in table.splitlines()[1:]:
        octets = IPv4Address(int.from_bytes(bytes.fromhex(line.split()[1]), "little")).packed
        if octets[:2] == bytes((10, 203)):
            numbers.add(octets[2])
    return numbers


@contextmanager
def exclusive(waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the one lock of all labs; waiting is called once when another command holds it."""
    labs_dir().mkdir(parents=True, exist_ok=True)
    with (labs_dir() / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.new")
    partial.write_text(text)
    partial.replace(path)
