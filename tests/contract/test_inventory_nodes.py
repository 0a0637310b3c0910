"""Nodes written into a hosts file and taken out again: every other byte stays."""

from pathlib import Path

import pytest

from cpkit.errors import UsageError
from cpkit.inventory import load
from cpkit.inventory.nodes import with_address, with_nodes, without_nodes, write

HOSTS = """\
# Ours, do not touch.
all:
  children:
    control_plane:
      hosts:
        cp1: {ansible_host: 192.0.2.11}  # rack 1
        cp2:
          ansible_host: 192.0.2.12
          node_address: 198.51.100.12
        cp3: {ansible_host: 192.0.2.13}

    # The balancers.
    load_balancer:
      hosts:
        lb1: {ansible_host: 192.0.2.21}
"""
VARIABLES = "cluster_name: prod\ncluster_endpoint: 192.0.2.100\n"


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text(VARIABLES)
    path = tmp_path / "hosts.yml"
    path.write_text(HOSTS)
    path.chmod(0o640)
    return path


def names(hosts: Path) -> list[str]:
    return [node.name for node in load(hosts).control_plane]


def test_new_nodes_come_after_the_last_and_leave_again_without_a_trace(hosts: Path) -> None:
    text, cluster = with_nodes(hosts, {"cp4": "192.0.2.14", "cp5": "192.0.2.15"})
    assert [node.name for node in cluster.control_plane] == ["cp1", "cp2", "cp3", "cp4", "cp5"]
    assert hosts.read_text() == HOSTS, "nothing is written before it is asked for"
    more = "        cp4: {ansible_host: 192.0.2.14}\n        cp5: {ansible_host: 192.0.2.15}\n"
    last = "        cp3: {ansible_host: 192.0.2.13}\n"
    assert text == HOSTS.replace(last, last + more)
    assert cluster.inventory == hosts
    assert [node.name for node in write(hosts, text).control_plane] == names(hosts)
    assert hosts.stat().st_mode & 0o777 == 0o640
    assert without_nodes(hosts, frozenset({"cp4", "cp5"})) == HOSTS
    assert [path.name for path in sorted(hosts.parent.iterdir())] == ["group_vars", "hosts.yml"]


def test_a_node_of_several_lines_is_taken_out_whole(hosts: Path) -> None:
    text = without_nodes(hosts, frozenset({"cp2"}))
    assert "192.0.2.12" not in text
    assert "198.51.100.12" not in text
    assert len(HOSTS.splitlines()) - len(text.splitlines()) == 3


def test_a_file_that_ends_without_a_line_end_takes_a_node_as_well(hosts: Path) -> None:
    lone = HOSTS.partition("        cp2:")[0].rstrip() + "\n    "
    lone = f"all:\n  children:\n{lone.partition('children:')[2].strip(chr(10)).rstrip()}"
    hosts.write_text(lone)
    (hosts.parent / "group_vars" / "all.yml").write_text(VARIABLES.replace("192.0.2.100", "api.example.org"))
    text, _ = with_nodes(hosts, {"cp2": "192.0.2.12"})
    assert text == f"{lone}\n        cp2: {{ansible_host: 192.0.2.12}}\n"


def test_a_new_address_changes_one_number(hosts: Path) -> None:
    text, cluster = with_address(hosts, "cp1", "192.0.2.31")
    assert text == HOSTS.replace("192.0.2.11", "192.0.2.31")
    assert cluster.control_plane[0].ssh.host == "192.0.2.31"
    with pytest.raises(UsageError, match="yours to change"):
        with_address(hosts, "cp2", "192.0.2.32")


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ({"cp4": "192.0.2.11"}, "same address"),
        ({"cp4": "cp4.example.org"}, "no IPv4 address"),
        ({"CP_4": "192.0.2.14"}, "cannot name a node"),
        ({"lb1": "192.0.2.14"}, "in both groups"),
        ({f"cp{n}": f"192.0.2.1{n}" for n in range(4, 9)}, "etcd slows down beyond 7"),
    ],
)
def test_what_makes_no_sound_cluster_is_refused_before_anything_is_written(
    hosts: Path, nodes: dict[str, str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        with_nodes(hosts, nodes)
    assert hosts.read_text() == HOSTS
    assert len(list(hosts.parent.iterdir())) == 2


@pytest.mark.parametrize(
    "line",
    [
        "    control_plane: {hosts: {cp1: {ansible_host: 192.0.2.11}, cp2: {ansible_host: 192.0.2.12}}}\n",
        "    control_plane:\n      hosts: {cp1: {ansible_host: 192.0.2.11}, cp2: {ansible_host: 192.0.2.12}}\n",
    ],
)
def test_hosts_on_one_line_are_left_to_the_user(hosts: Path, line: str) -> None:
    hosts.write_text(f"all:\n  children:\n{line}    load_balancer: {{hosts: {{lb1: {{ansible_host: 192.0.2.21}}}}}}\n")
    before = hosts.read_text()
    with pytest.raises(UsageError, match="yours to change"):
        with_nodes(hosts, {"cp4": "192.0.2.14"})
    assert hosts.read_text() == before
