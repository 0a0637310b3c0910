"""A whole life of a lab of real containers: made, used over SSH, broken in every way, mended, removed."""

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cpkit.lab import inventory_dir, known_layout, lab_dir
from cpkit.lab.engine import LAB_LABEL, find_engine


def cpkit(*words: str, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cpkit", "lab", *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)


def done(*words: str) -> str:
    completed = cpkit(*words)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


class Lab:
    """A lab and what a test asks of it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def node(self, name: str) -> str:
        return f"{self.name}/{name}"

    def on(self, node: str, line: str) -> str:
        return done("ssh", self.node(node), "--", line).strip()

    def pings(self, node: str, address: str) -> bool:
        return "0 received" not in done("ssh", self.node(node), f"ping -c 1 -W 1 {address} || true")

    def address(self, node: str) -> str:
        return known_layout(self.name).machine(node).address

    def states(self) -> dict[str, str]:
        labs: list[dict[str, Any]] = json.loads(done("list", "-o", "json"))
        (mine,) = [lab for lab in labs if lab["lab"] == self.name]
        return {node["name"]: node["state"] for node in mine["nodes"]}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    name = f"e{secrets.token_hex(3)}"
    try:
        done("up", name, "--nodes", "1", "--balancers", "2")
        yield Lab(name)
    finally:
        done("down", name)


def test_a_node_is_reached_over_ssh_and_may_become_root(lab: Lab) -> None:
    assert lab.on("cp1", "hostname; id -un; sudo id -un; systemctl is-system-running").split() == [
        "cp1",
        "admin",
        "root",
        "running",
    ]


def test_the_base_image_runs_nothing_that_a_role_should_start(lab: Lab) -> None:
    assert lab.on("lb1", "systemctl is-active haproxy keepalived || true").split() == ["inactive", "inactive"]


def test_nodes_have_identities_of_their_own(lab: Lab) -> None:
    nodes = ("cp1", "lb1", "lb2")
    assert len({lab.on(node, "cat /etc/machine-id") for node in nodes}) == len(nodes)


def test_a_node_with_another_host_key_is_refused(lab: Lab) -> None:
    known_hosts = inventory_dir(lab.name) / "known_hosts"
    pinned = known_hosts.read_text()
    ours, other = (line.split()[2] for line in pinned.splitlines()[:2])
    known_hosts.write_text(pinned.replace(ours, other))
    try:
        refused = cpkit("ssh", lab.node("cp1"), "true")
    finally:
        known_hosts.write_text(pinned)
    assert refused.returncode != 0
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.stderr


def test_plain_ansible_reaches_every_node_with_the_written_inventory(lab: Lab) -> None:
    hosts = str(inventory_dir(lab.name) / "hosts.yml")
    command = [str(Path(sys.executable).with_name("ansible")), "all", "-i", hosts, "-m", "ping"]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert completed.stdout.count("SUCCESS") == 3


def test_up_again_changes_nothing(lab: Lab) -> None:
    boot = lab.on("cp1", "stat -c %Z /proc/1")
    assert "was already up" in done("up", lab.name)
    assert lab.on("cp1", "stat -c %Z /proc/1") == boot


def test_disk_and_addresses_survive_a_power_cut(lab: Lab) -> None:
    lab.on("cp1", "sudo sh -c 'echo kept >/var/lib/kept; sync'")
    identity = lab.on("cp1", "cat /sys/class/net/eth0/address /etc/machine-id")
    done("stop", "--power", lab.node("cp1"))
    assert lab.states()["cp1"] == "exited"
    done("start", lab.node("cp1"))
    assert lab.on("cp1", "cat /var/lib/kept") == "kept"
    assert lab.on("cp1", "cat /sys/class/net/eth0/address /etc/machine-id") == identity


def test_a_frozen_node_answers_nothing_and_then_goes_on(lab: Lab) -> None:
    done("pause", lab.node("cp1"), lab.node("lb2"))
    assert lab.states() == {"cp1": "paused", "lb1": "running", "lb2": "paused"}
    with socket.create_connection((lab.address("cp1"), 22), timeout=1) as connection:
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    done("unpause", lab.node("cp1"), lab.node("lb2"))
    assert lab.on("cp1", "hostname") == "cp1"


def test_a_frozen_node_can_lose_its_power(lab: Lab) -> None:
    done("pause", lab.node("lb2"))
    done("stop", "--power", lab.node("lb2"))
    assert lab.states()["lb2"] == "exited"
    done("start", lab.node("lb2"))


def test_a_partition_cuts_both_ways_and_heals_without_a_trace(lab: Lab) -> None:
    done("partition", lab.node("cp1"), "--from", "lb1")
    assert not lab.pings("cp1", lab.address("lb1"))
    assert not lab.pings("lb1", lab.address("cp1"))
    assert lab.pings("cp1", lab.address("lb2"))
    assert "Healed: cp1." in done("heal", lab.name)
    assert lab.pings("cp1", lab.address("lb1"))
    assert lab.on("cp1", "sudo nft list tables") == ""
    assert "Nothing was cut off." in done("heal", lab.name)


def test_a_one_way_partition_lets_a_node_hear_what_it_cannot_answer(lab: Lab) -> None:
    done("partition", lab.node("cp1"), "--one-way")
    lab.on("cp1", "sudo nft 'add table ip heard; add chain ip heard in { type filter hook input priority 0; }'")
    lab.on("cp1", f"sudo nft add rule ip heard in ip saddr {lab.address('lb1')} counter")
    assert not lab.pings("lb1", lab.address("cp1"))
    assert "counter packets 0" not in lab.on("cp1", "sudo nft list table ip heard")
    lab.on("cp1", "sudo nft delete table ip heard")
    done("heal", lab.name)
    assert lab.pings("lb1", lab.address("cp1"))


def test_a_machine_that_is_gone_is_made_anew_with_the_same_host_key(lab: Lab) -> None:
    engine = find_engine()
    engine.client.container.remove(f"cpkit-{lab.name}-lb2", force=True)
    assert lab.states()["lb2"] == "missing"
    gone = cpkit("start", lab.node("lb2"))
    assert gone.returncode == 1
    assert f"cpkit lab up {lab.name}" in gone.stderr
    done("up", lab.name)
    assert lab.on("lb2", "hostname") == "lb2"


def test_a_lab_grows(lab: Lab) -> None:
    done("up", lab.name, "--nodes", "3", "--spare", "1")
    assert lab.on("cp3", "hostname") == "cp3"
    assert lab.on("sp1", "hostname") == "sp1"
    assert "cp3: {ansible_host" in (inventory_dir(lab.name) / "hosts.yml").read_text()


def test_a_command_killed_half_way_is_taken_up_again(lab: Lab) -> None:
    name = f"{lab.name}k"
    command = [sys.executable, "-m", "cpkit", "lab", "up", name, "--nodes", "3", "--balancers", "0"]
    try:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            # Killed as soon as the first machine is being made, so some exist and some do not.
            assert process.stderr is not None
            assert any("creating" in line for line in process.stderr)
            process.kill()
        done("up", name)
        assert [done("ssh", f"{name}/{node}", "hostname").strip() for node in ("cp1", "cp2", "cp3")] == [
            "cp1",
            "cp2",
            "cp3",
        ]
        endpoint = known_layout(name).vip
        assert Lab(name).pings("cp2", endpoint), "without balancers cp1 holds the endpoint's address"
    finally:
        done("down", name)


def test_nothing_is_left_of_a_removed_lab() -> None:
    name = f"e{secrets.token_hex(3)}"
    done("up", name, "--nodes", "1", "--balancers", "0")
    network = known_layout(name).network
    done("down", name)
    engine = find_engine()
    assert not engine.client.container.list(all=True, filters=[("label", f"{LAB_LABEL}={name}")])
    assert not engine.client.network.exists(f"cpkit-{name}")
    assert not lab_dir(name).exists()
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, timeout=10, check=True).stdout
    assert str(network) not in routes
    again = cpkit("down", name)
    assert again.returncode == 2
    assert f"there is no lab '{name}'" in again.stderr
