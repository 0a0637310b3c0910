from collections.abc import Callable
from pathlib import Path

import pytest

from cpkit.errors import Exit, UsageError
from cpkit.inventory import Cluster, InvalidInventory, load
from tests.unit.cases import cases

HOSTS = """\
all:
  children:
    control_plane:
      hosts:
        cp1: {ansible_host: 192.0.2.11}
        cp2: {ansible_host: 192.0.2.12}
        cp3: {ansible_host: 192.0.2.13}
    load_balancer:
      hosts:
        lb1: {ansible_host: 192.0.2.21}
        lb2: {ansible_host: 192.0.2.22}
"""
VARIABLES = "cluster_name: prod\ncluster_endpoint: 192.0.2.100\n"
ONE = "all: {children: {control_plane: {hosts: {cp1: {ansible_host: 192.0.2.11}}}}}\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_files(hosts: str = HOSTS, variables: str = VARIABLES, **more: str) -> Path:
        files = {"hosts.yml": hosts, "group_vars/all.yml": variables} | {
            f"{name.replace('__', '/')}.yml": text for name, text in more.items()
        }
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return write_files


def problems(where: Path) -> list[str]:
    """The problems as FILE:LINE: TEXT, with files relative to the inventory."""
    with pytest.raises(InvalidInventory) as caught:
        load(where)
    assert caught.value.code is Exit.USAGE
    return [str(problem).removeprefix(f"{where}/") for problem in caught.value.problems]


def test_a_sound_inventory(write: Write) -> None:
    cluster = load(write())
    assert cluster.name == "prod"
    assert [node.name for node in cluster.nodes] == ["cp1", "cp2", "cp3", "lb1", "lb2"]
    assert str(cluster.endpoint) == "192.0.2.100:6443"
    assert cluster.nodes[0].ssh.user == ""  # as in Ansible: ssh's own configuration decides
    assert cluster.inventory.name == "hosts.yml"
    assert cluster.inventory.is_absolute()


def test_connection_variables(write: Write) -> None:
    arguments = "-J ops@jump.example.org:2200 -o UserKnownHostsFile='{{ inventory_dir }}/known_hosts' -oPort=7"
    where = write(
        variables=VARIABLES
        + f'ansible_ssh_common_args: "{arguments}"\nansible_ssh_private_key_file: ~/key\nansible_user: ops\n',
        host_vars__cp2="ansible_port: 2222\nnode_address: 198.51.100.2\nansible_become: no\n",
    )
    first, second = load(where).control_plane[:2]
    assert first.ssh.proxy_jump == "ops@jump.example.org:2200"
    assert first.ssh.known_hosts == where / "known_hosts"
    assert first.ssh.key_file == Path.home() / "key"
    assert (first.ssh.user, first.ssh.port, first.ssh.become) == ("ops", 22, True)
    assert (second.address, second.ssh.host, second.ssh.port) == ("198.51.100.2", "192.0.2.12", 2222)
    assert second.ssh.become is False


def test_problems_of_all_kinds_and_files_are_told_together(write: Write) -> None:
    where = write(
        variables="cluster_name: prod\ncluster_endpiont: 192.0.2.100\npki_ca_days: soon\n",
        host_vars__cp3="node_address: 192.0.2.12\n",
        group_vars__control_plane="etcd_quota_backend_bytes: 1\n",
    )
    missing, *others = problems(where)
    assert missing.startswith("group_vars/all.yml: cluster_endpoint is missing: HOST or HOST:PORT every client uses.")
    assert others == [
        "group_vars/all.yml:2: unknown variable 'cluster_endpiont'; did you mean 'cluster_endpoint'?",
        "group_vars/all.yml:3: pki_ca_days must be a whole number, not 'soon'",
        "group_vars/control_plane.yml:1: etcd_quota_backend_bytes must be at least 16777216, not 1",
        "hosts.yml:7: cp2 and cp3 have the same address 192.0.2.12",
    ]


@cases(
    ("variables", "line", "text"),
    [
        ("cluster_nmae: x", 3, "did you mean 'cluster_name'"),
        ("mine: x", 3, "names of your own begin with x_"),
        ("kubernetes_version: 1.36.3", 3, "did you mean 'cluster_kubernetes_version'"),
        ("cluster_kubernetes_version: 1.30.1", 3, "Kubernetes 1.30 is not supported. Supported minors: 1.35"),
        ("cluster_kubernetes_version: 1.36", 3, 'must be text; write it in quotes, as "1.36"'),
        ("cluster_etcd_version: 3.5.9", 3, "cluster_etcd_version 3.5.9 is older than 3.6.11"),
        ("cluster_service_cidr: 10.244.0.0/20", 3, "cluster_service_cidr 10.244.0.0/20 overlaps cluster_pod_cidr"),
        ("cluster_service_cidr: 10.1.0.0/11", 3, "no IPv4 network"),
        ("cluster_service_cidr: 10.0.0.0/29", 3, "must be between a /12 and a /28"),
        ("cluster_service_cidr: 192.0.2.0/24", 3, "cluster_service_cidr 192.0.2.0/24 holds cp1 (192.0.2.11), cp2"),
        ("cluster_pod_cidr: 192.0.2.96/27", 3, "must be between a /8 and a /24"),
        ("cluster_pod_cidr: 192.0.0.0/16", 3, "cluster_endpoint (192.0.2.100)"),
        ("cluster_dns_domain: -a", 3, "no DNS name"),
        ("cluster_extra_sans:\n  - ok.example.org\n  - not ok", 5, "cluster_extra_sans.1: 'not ok' is neither"),
        ("kube_scheduler_extra_args:\n  v: '2'\n  --v: '3'", 5, "written without dashes"),
        ("etcd_extra_args:\n  a: '2'\n  b: true", 5, 'etcd_extra_args.b must be text; write it in quotes, as "true"'),
        ("cluster_feature_gates: {Some: perhaps}", 3, "must be true or false"),
        ("pki_key_type: rsa-2049", 3, "did you mean 'rsa-2048'"),
        ("etcd_data_dir: var/lib", 3, "absolute path"),
        ("etcd_heartbeat_interval_ms: 300", 3, "at least 5 times"),
        ("etcd_auto_compaction_retention: soon", 3, "as 8h or 30m"),
        ("kube_apiserver_audit_policy: none", 3, "kind: Policy"),
        ("cluster_dns_domain: '{{ x_domain }}'", 3, "is a template ({{ x_domain }})"),
        ("cluster_dns_domain: !vault |\n  abc", 3, "encrypted with ansible-vault"),
        ("cluster_dns_domain:", 3, "has no value"),
        ("cluster_name: again", 3, "'cluster_name' is written twice, first in line 1"),
        ("a: [b", 4, "is not YAML"),
        ("1: 2", 3, "a key must be text"),
        ("x_loop: &a [*a]", 3, "an alias leads to itself"),
        ("ansible_become_password: !vault |\n  abc", 3, "--ask-become-pass"),
        ("ansible_ssh_pass: x", 3, "keys only"),
        ("ansible_connection: local", 3, "by ssh"),
        ("ansible_port: 70000", 3, "no port"),
        ("ansible_ssh_common_args: -o ProxyCommand='nc %h'", 3, "ProxyJump"),
        ('ansible_ssh_common_args: "-o \'x"', 3, "cannot be split"),
        ("ansible_ssh_private_key_file: '{{ lookup(1) }}'", 3, "is a template"),
    ],
)
def test_a_bad_variable_is_named_with_its_line(write: Write, variables: str, line: int, text: str) -> None:
    found = problems(write(variables=f"{VARIABLES}{variables}\n"))
    assert {problem.split(": ")[0] for problem in found} == {f"group_vars/all.yml:{line}"}
    assert text in found[0]


@cases(
    ("endpoint", "hosts", "text"),
    [
        ("192.0.2.12", HOSTS, "is cp2 itself; the load balancers need an address of its own"),
        ("192.0.2.21:6443", HOSTS, "is lb1 itself"),
        ("api.example.org", HOSTS, "must be the IPv4 address that the load balancers share"),
        ("192.0.2.100:0", HOSTS, "a port is 1 to 65535"),
        ("192.0.2.100:https", HOSTS, "a port is 1 to 65535"),
        ("'2001:db8::1'", HOSTS, "no HOST or HOST:PORT"),
        ("https://api", HOSTS, "no HOST or HOST:PORT"),
        ("192.0.2.300", HOSTS, "neither an IPv4 address nor a name"),
        ("192.0.2.13", HOSTS.split("    load_balancer")[0], "nothing would answer when that node is down"),
        ("cp1", HOSTS.split("    load_balancer")[0], "is cp1 itself"),
        ("192.0.2.11:8443", ONE, "serves the API on port 6443"),
    ],
)
def test_a_bad_endpoint(write: Write, endpoint: str, hosts: str, text: str) -> None:
    (found,) = problems(write(hosts, f"cluster_name: prod\ncluster_endpoint: {endpoint}\n"))
    assert found.startswith("group_vars/all.yml:2: ")
    assert text in found


@pytest.mark.parametrize("endpoint", ["192.0.2.11", "cp1", "api.example.org:443", "203.0.113.1:8443"])
def test_without_load_balancers_a_single_node_may_be_its_own_endpoint(write: Write, endpoint: str) -> None:
    assert load(write(ONE, f"cluster_name: one\ncluster_endpoint: {endpoint}\n")).load_balancers == ()


@cases(
    ("old", "new", "where", "text"),
    [
        (
            "        cp3: {ansible_host: 192.0.2.13}\n",
            "".join(f"        cp{n}: {{ansible_host: 192.0.2.1{n}}}\n" for n in range(3, 9)),
            3,
            "has 8 hosts; use 1, 3, 5 or 7",
        ),
        ("    control_plane:", "    control_plan:", 3, "'control_plan' is not known; did you mean 'control_plane'?"),
        (
            "      hosts:\n        cp1",
            "      host:\n        cp1",
            4,
            "'host' means nothing in group 'control_plane'; did",
        ),
        ("192.0.2.13", "192.0.2.11", 7, "cp1 and cp3 have the same address 192.0.2.11"),
        ("192.0.2.13", "cp3.example.org", 7, "set node_address"),
        ("{ansible_host: 192.0.2.13}", "", 7, "host 'cp3' has no address: set ansible_host"),
        ("{ansible_host: 192.0.2.13}", "192.0.2.13", 7, "must hold variables"),
        ("192.0.2.13", "2001:db8::13", 7, "no IPv4 address"),
        ("192.0.2.13}", "192.0.2.12, node_address: 198.51.100.3}", 7, "same ansible_host and ansible_port"),
        ("cp3:", "CP_3:", 7, "cannot name a node"),
        ("cp3:", '"cp[3:4]":', 7, "ranges"),
        ("cp3:", "cp2:", 7, "'cp2' is written twice, first in line 6"),
        ("lb2: {ansible_host: 192.0.2.22}", "cp3: {}", 7, "cp3 is in both groups"),
    ],
)
def test_a_bad_hosts_file(write: Write, old: str, new: str, where: int, text: str) -> None:
    assert old in HOSTS
    found = problems(write(HOSTS.replace(old, new, 1)))
    assert any(problem.startswith(f"hosts.yml:{where}: ") and text in problem for problem in found), found


def test_no_control_plane_at_all(write: Write) -> None:
    found = problems(write("all: {children: {spare: {hosts: {sp1: }}}}\n"))
    assert any("group 'control_plane' has no host" in problem for problem in found)


@pytest.mark.parametrize("hosts", ["", "- cp1\n", "cp1\n", "---\n---\n", "\0"])
def test_a_hosts_file_that_lists_nothing(write: Write, hosts: str) -> None:
    (found,) = problems(write(hosts))
    assert found.startswith("hosts.yml")


def test_hosts_of_other_groups_are_not_part_of_the_cluster(write: Write) -> None:
    spare = "    spare:\n      vars: {anything: 1}\n      hosts: {sp1: }\n"
    assert len(load(write(HOSTS + spare)).nodes) == 5


def test_a_value_of_the_cluster_must_be_the_same_for_every_node(write: Write) -> None:
    (found,) = problems(write(group_vars__control_plane="cluster_dns_domain: one.test\n"))
    assert found == (
        "group_vars/control_plane.yml:1: cluster_dns_domain is 'one.test' for cp1 but 'not set' for lb1; "
        "it belongs to the cluster, so set it once, in group_vars/all.yml"
    )
    (found,) = problems(write(group_vars__control_plane="", host_vars__cp2="etcd_heartbeat_interval_ms: 90\n"))
    assert found.startswith("host_vars/cp2.yml:1: etcd_heartbeat_interval_ms is 90 for cp2 but 'not set' for cp1")


def test_a_variable_of_one_role_may_be_set_for_its_nodes_alone(write: Write) -> None:
    where = write(
        group_vars__control_plane="pki_leaf_days: 90\n", group_vars__load_balancer="load_balancer_interface: ens3\n"
    )
    spec = load(where).spec
    assert (spec.pki_leaf_days, spec.load_balancer_interface) == (90, "ens3")


def test_files_ansible_would_pass_by(write: Write) -> None:
    where = write(group_vars__control_plan="pki_leaf_days: 90\n", group_vars__all__x="cluster_name: other\n")
    assert problems(where) == [
        "group_vars/all.yml: Ansible does not read it, because all is beside it; move it into that",
        "group_vars/control_plan.yml: belongs to no group; did you mean 'control_plane'?",
    ]


def test_files_that_cannot_be_read(write: Write) -> None:
    where = write(group_vars__control_plane="$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    (where / "group_vars" / "load_balancer.yml").write_bytes(b"\xff\xfe")
    (where / "host_vars").mkdir()
    (where / "host_vars" / "cp1.yml").symlink_to("cp1.yml")
    first, second = problems(where)
    assert first.startswith("group_vars/control_plane.yml:1: is encrypted with ansible-vault")
    assert second == "group_vars/load_balancer.yml: is not text in UTF-8"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def placed(folder: Path) -> Path:
    (folder / "group_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text(HOSTS)
    (folder / "group_vars" / "all.yml").write_text(VARIABLES)
    return folder


def test_what_i_may_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(named: str | Path) -> Path:
        return load(named).inventory.parent

    ours = placed(home / "here" / "inventories" / "t1")
    assert found("t1") == found("inventories/t1") == found(ours) == found("inventories/t1/hosts.yml") == ours
    lab = placed(home / "state" / "cpkit" / "labs" / "t2" / "inventory")
    placed(home / "here" / "inventories" / "t2")
    assert found("t2") == lab  # a lab that is up is what its name means
    (home / "here" / "t1").mkdir()  # a folder that is no inventory hides nothing
    assert found("t1") == ours
    monkeypatch.chdir(ours)
    assert found(".") == ours


def test_what_there_is_when_a_name_leads_nowhere(home: Path) -> None:
    placed(home / "state" / "cpkit" / "labs" / "t1" / "inventory")
    placed(home / "here" / "inventories" / "prod")
    for named in ("nowhere", "./prod", "", "a\0b", "a" * 5000):
        with pytest.raises(UsageError) as caught:
            load(named)
        assert caught.value.code is Exit.USAGE
    with pytest.raises(UsageError, match="there is no inventory 'nowhere'") as caught:
        load("nowhere")
    assert caught.value.hint == "Under ./inventories: prod. Labs: t1. Write a new one: cpkit init NAME --help"


def test_inventories_in_ini_are_pointed_to_the_way(home: Path) -> None:
    (home / "old").mkdir()
    (home / "old" / "hosts.ini").write_text("[control_plane]\n")
    with pytest.raises(UsageError, match=r"holds no hosts\.yml") as caught:
        load(home / "old")
    assert "ansible-inventory -i" in caught.value.hint


def test_no_secret_is_shown(write: Write) -> None:
    cluster: Cluster = load(write(variables=f"{VARIABLES}ansible_become_password: hunter2\n"))
    assert cluster.nodes[0].ssh.become_password == "hunter2"
    assert "hunter2" not in repr(cluster)
