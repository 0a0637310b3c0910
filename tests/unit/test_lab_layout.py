"""A lab's name, number and sizes decide everything about it, and the committed inventories are what `up` writes."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from cpkit.errors import UsageError
from cpkit.lab.layout import RESERVED_NUMBERS, Layout, Sizes, checked_name, grown, new_layout
from cpkit.lab.rendering import all_yml, hosts_yml, known_hosts
from cpkit.versions import Version, version_table
from tests.unit.cases import cases

INVENTORIES = Path(__file__).parents[2] / "inventories"


def test_addresses_do_not_depend_on_the_sizes() -> None:
    small = Layout("t", 7, control_plane=1, balancers=1)
    large = Layout("t", 7, control_plane=7, balancers=2, spares=8)
    assert set(small.machines) <= set(large.machines)
    assert [(machine.name, machine.address) for machine in small.machines] == [
        ("cp1", "10.203.7.11"),
        ("lb1", "10.203.7.21"),
    ]
    assert large.vip == "10.203.7.100"


def test_every_machine_of_the_largest_lab_has_its_own_addresses_inside_the_network() -> None:
    layout = Layout("t", 7, control_plane=7, balancers=2, spares=8)
    addresses = [machine.address for machine in layout.machines] + [layout.vip, str(layout.network[1])]
    assert len(set(addresses)) == len(addresses)
    assert all(IPv4Address(address) in layout.network for address in addresses)
    assert len({machine.mac for machine in layout.machines}) == len(layout.machines)


def test_machines_of_different_labs_share_no_address() -> None:
    one, other = Layout("a", 1), Layout("b", 2)
    for attribute in ("address", "mac"):
        assert not {getattr(machine, attribute) for machine in one.machines} & {
            getattr(machine, attribute) for machine in other.machines
        }


@cases("count", [0, 2, 4, 6, 8, -1])
def test_a_control_plane_without_a_sound_quorum_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match="sound cluster"):
        new_layout("t", 1, Sizes(control_plane=count))


@pytest.mark.parametrize(
    "sizes", [Sizes(balancers=3), Sizes(balancers=-1), Sizes(spares=9), Sizes(kubernetes_version="1.20.0")]
)
def test_impossible_sizes_are_refused(sizes: Sizes) -> None:
    with pytest.raises(UsageError):
        new_layout("t", 1, sizes)


def test_up_adds_machines_and_keeps_what_was_not_asked_for() -> None:
    layout = new_layout("t", 1, Sizes(control_plane=1, balancers=1))
    larger = grown(layout, Sizes(control_plane=3))
    assert (larger.control_plane, larger.balancers, larger.spares) == (3, 1, 0)


def test_up_never_takes_machines_away() -> None:
    layout = new_layout("t", 1, Sizes(control_plane=5))
    with pytest.raises(UsageError, match="cp4, cp5"):
        grown(layout, Sizes(control_plane=3))


@cases("name", ["lab", "t1", "a", "a-b", "x" * 20])
def test_good_names(name: str) -> None:
    assert checked_name(name) == name


@cases("name", ["", "Lab", "1a", "a_b", "a-", "-a", "a/b", "..", "x" * 21])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        checked_name(name)


@pytest.mark.parametrize(("name", "sizes"), [("lab", Sizes()), ("lab5", Sizes(control_plane=5))])
def test_committed_inventories_are_what_up_writes(name: str, sizes: Sizes) -> None:
    layout = new_layout(name, RESERVED_NUMBERS[name], sizes)
    committed = INVENTORIES / name
    assert (committed / "hosts.yml").read_text() == hosts_yml(layout)
    variables = all_yml(layout, f"~/.local/state/cpkit/labs/{name}")
    assert (committed / "group_vars" / "all.yml").read_text() == variables


def test_a_version_asked_for_is_in_the_inventory() -> None:
    version = str(version_table().minors["1.37"].kubernetes)
    layout = new_layout("t", 1, Sizes(kubernetes_version=version))
    assert f'cluster_kubernetes_version: "{version}"\n' in all_yml(layout, "/x")
    assert new_layout("t", 1, Sizes(kubernetes_version=Version.parse(version).series)) == layout, "a minor is its patch"
    assert "cluster_kubernetes_version" not in all_yml(new_layout("t", 1, Sizes()), "/x")


def test_spares_are_in_a_group_of_their_own() -> None:
    assert "spare:" not in hosts_yml(Layout("t", 1))
    text = hosts_yml(Layout("t", 1, spares=1))
    assert text.endswith("    spare:\n      hosts:\n        sp1: {ansible_host: 10.203.1.31}\n")


def test_every_machine_has_its_host_key_pinned() -> None:
    layout = Layout("t", 1, control_plane=1, balancers=1)
    assert known_hosts(layout, {"cp1": "ssh-ed25519 AAA", "lb1": "ssh-ed25519 BBB"}) == (
        "10.203.1.11 ssh-ed25519 AAA\n10.203.1.21 ssh-ed25519 BBB\n"
    )
