"""What cpkit reads from an inventory is what Ansible reads from it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cpkit.inventory import Cluster, load
from cpkit.paths import ansible_root

ROOT = ansible_root()
INVENTORIES = [ROOT / "inventories" / name for name in ("example", "lab", "lab5")]


def ansible_inventory(where: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(where), "--list", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "playbooks" / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    listed: dict[str, Any] = json.loads(done.stdout)
    return listed


def names(cluster: Cluster) -> dict[str, set[str]]:
    return {
        "control_plane": {node.name for node in cluster.control_plane},
        "load_balancer": {node.name for node in cluster.load_balancers},
    }


def hosts_below(listed: dict[str, Any], group: str) -> list[str]:
    here: dict[str, list[str]] = listed.get(group, {})
    below = [host for child in here.get("children", []) for host in hosts_below(listed, child)]
    return [*here.get("hosts", []), *below]


def check_agreement(where: Path) -> dict[str, dict[str, Any]]:
    cluster = load(where)
    listed = ansible_inventory(where)
    for group, members in names(cluster).items():
        assert set(hosts_below(listed, group)) == members
    variables: dict[str, dict[str, Any]] = listed["_meta"]["hostvars"]
    for node in cluster.nodes:
        theirs = variables[node.name]
        assert node.ssh.host == theirs.get("ansible_host", node.name)
        assert node.address == theirs.get("node_address", node.ssh.host)
        assert node.ssh.port == theirs.get("ansible_port", 22)
        assert node.ssh.user == theirs.get("ansible_user", "")
        key = theirs.get("ansible_ssh_private_key_file")
        assert node.ssh.key_file == (Path(key).expanduser() if key else None)
        for name, value in theirs.items():
            if name in type(cluster.spec).model_fields:
                ours = cluster.spec.model_dump(mode="json")[name]
                assert ours == value, name
    return variables


@pytest.mark.parametrize("where", INVENTORIES, ids=lambda path: path.name)
def test_the_committed_inventories(where: Path) -> None:
    check_agreement(where)


TANGLE = {
    "hosts.yml": """
all:
  vars: {ansible_user: lowest, ansible_port: 1, x_mine: 1}
  children:
    control_plane:
      vars: {ansible_user: low, pki_leaf_days: 1}
      children:
        rack_a: {hosts: {cp1: , cp2: {ansible_port: 2202}}}
        rack_b:
          vars: {ansible_user: racked, ansible_group_priority: 5}
          hosts: {cp3: {ansible_host: 192.0.2.13, node_address: 198.51.100.13}}
    load_balancer:
      hosts:
        lb1: {<<: &balancer {ansible_port: 22}, ansible_host: 192.0.2.21}
        lb2: {<<: *balancer, ansible_host: 192.0.2.22}
    zone_z: {hosts: {cp2: {}, cp3: {}}}
""",
    "group_vars/all/10.yml": """
cluster_name: tangle
cluster_endpoint: 192.0.2.100
ansible_user: everyone
etcd_heartbeat_interval_ms: 200
""",
    "group_vars/all/20.yaml": "etcd_heartbeat_interval_ms: 150\netcd_election_timeout_ms: 1500\n",
    "group_vars/all/.30.yml": "etcd_heartbeat_interval_ms: 90\n",
    "group_vars/control_plane.yml": "pki_leaf_days: 100\nansible_port: 2200\n",
    "group_vars/rack_b.yml": "ansible_ssh_private_key_file: ~/rack_b\n",
    "group_vars/zone_z.yaml": "ansible_ssh_private_key_file: ~/zone_z\nansible_user: zoned\n",
    "host_vars/cp1.yml": "ansible_host: 192.0.2.11\nansible_port: 2201\n",
    "host_vars/cp2/address.yml": "ansible_host: 192.0.2.12\n",
    "known_hosts": "192.0.2.11 ssh-ed25519 AAAA\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_every_layer_of_variables_in_ansibles_order(tmp_path: Path) -> None:
    theirs = check_agreement(write(tmp_path, TANGLE))
    # Guards the test itself: the layers really were in competition.
    assert [theirs[name]["ansible_port"] for name in ("cp1", "cp2", "cp3", "lb1")] == [2201, 2202, 2200, 22]
    assert theirs["cp3"]["ansible_ssh_private_key_file"] == "~/rack_b"
    assert theirs["cp2"]["ansible_ssh_private_key_file"] == "~/zone_z"


def test_an_inventory_goes_before_the_defaults_of_the_playbooks(tmp_path: Path) -> None:
    write(tmp_path, TANGLE)
    (tmp_path / "group_vars" / "all" / "40.yml").write_text("cluster_dns_domain: tangle.test\n")
    listed = ansible_inventory(tmp_path, "--playbook-dir", str(ROOT / "playbooks"))
    variables = listed["_meta"]["hostvars"]["cp1"]
    assert variables["cluster_dns_domain"] == "tangle.test"
    assert variables["cluster_pod_cidr"] == "10.244.0.0/16"
