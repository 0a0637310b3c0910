"""Certificates of a running cluster: listed, renewed under load without a restart, mended, taken back, taken up."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cpkit.errors import Exit
from cpkit.facts.collect import collect
from cpkit.inventory import load as load_inventory
from cpkit.operations.leaves import identity
from cpkit.paths import ansible_root
from cpkit.pki import Authorities, create
from cpkit.pki.authorities import SHARED_FILES
from cpkit.pki.certificates import certificate_to_pem, issue
from cpkit.pki.keys import key_to_pem, new_key
from cpkit.pki.leaves import NAMES, leaves_of
from cpkit.ssh import connect
from tests.e2e.load import load
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import Cluster, await_that, bootstrap

PKI = "/etc/kubernetes/pki"
PREVIOUS = "/var/lib/cpkit/previous"
LONGEST = 240.0  # seconds a rotation may take on a machine that does other work too
LEAF_FILES = f"cd {PKI} && sha256sum *.crt *.key etcd/*.crt etcd/*.key ../admin.conf"


@pytest.fixture(scope="module")
def cluster(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return bootstrap(make_lab(nodes=3, balancers=1), tmp_path_factory.mktemp("kubeconfig"))


def listed(cluster: Cluster) -> tuple[int, dict[str, Any]]:
    done = run_cpkit("certs", "-i", cluster.lab.name, "-o", "json", "--timeout", "20")
    return done.returncode, json.loads(done.stdout)


def credentials(cluster: Cluster) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["node"], each["name"]): each for each in listed(cluster)[1]["credentials"]}


def serials(cluster: Cluster) -> dict[tuple[str, str], str]:
    return {place: each["serial"] for place, each in credentials(cluster).items() if place[1] in NAMES}


def rotate(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return run_cpkit("rotate-certs", "-i", cluster.lab.name, "--yes", *words, timeout=LONGEST)


def report(cluster: Cluster) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(newest(cluster, "report.json").read_text())
    return loaded


def newest(cluster: Cluster, name: str) -> Path:
    """The file of the last run that has it."""
    return [path for run in cluster.lab.runs("rotate-certs") if (path := run / name).exists()][-1]


def test_every_certificate_of_a_new_cluster_is_in_use(cluster: Cluster) -> None:
    code, document = listed(cluster)
    assert code == Exit.OK, [each for each in document["findings"] if each["level"] != "ok"]
    found = {(each["node"], each["name"]): each for each in document["credentials"]}
    assert {name for node, name in found if node == "cp2"} >= {*NAMES, "ca", "etcd/ca", "front-proxy-ca", "loopback"}
    assert found["lb1", "balancer CA"]["fingerprint"] == found["cp1", "ca"]["fingerprint"]
    for name, ports in (("etcd/server", "2379"), ("etcd/peer", "2380"), ("apiserver", "6443"), ("scheduler", "10259")):
        assert (found["cp1", name]["ports"], found["cp1", name]["served"]) == ([ports], "yes")
    assert {each["accepted"] for each in found.values() if each["kind"] in {"leaf", "kubeconfig"}} == {"yes", ""}


def test_all_leaves_are_renewed_under_load_with_no_failed_request_and_no_restart(cluster: Cluster) -> None:
    cluster.settle()
    before, started = serials(cluster), cluster.unit_starts()
    assert len(before) == 3 * len(NAMES)
    with load(cluster.kubeconfig) as seen:
        done = rotate(cluster, "--all")
    print(f"rotation {report(cluster)['seconds']:.1f} s; {seen}")  # noqa: T201 - a measurement to be read
    assert done.returncode == 0, done.stderr
    assert seen.errors == []
    assert not seen.held_up()
    assert seen.watches_cut == 0
    assert seen.rate >= 50
    assert cluster.unit_starts() == started
    after = credentials(cluster)
    assert all(after[place]["serial"] != serial for place, serial in before.items())
    assert {each["level"] for each in after.values()} == {"ok"}
    told = report(cluster)
    assert told["availability"]["failed"] == 0
    page = newest(cluster, "report.html").read_text()
    for node in cluster.control_plane:
        assert f">{node}</text>" in page
        assert told["availability"]["nodes"][node]["failed"] == 0
    assert f">0 of {told['availability']['requests']}</b>" in page
    assert {(each["node"], each["leaf"]): each["old"] for each in told["renewed"]} == before
    assert all(after[each["node"], each["leaf"]]["serial"] == each["new"] for each in told["renewed"])
    assert set(cluster.on_each(f"ls -d {PREVIOUS} /run/cpkit/lock.json 2>/dev/null || true").values()) == {""}


def test_after_that_nothing_is_due_and_nothing_is_touched(cluster: Cluster) -> None:
    before = cluster.on_each(LEAF_FILES)
    done = rotate(cluster)
    assert (done.returncode, "no leaf is due" in done.stdout) == (0, True), done.stdout
    assert cluster.on_each(LEAF_FILES) == before


def test_the_old_kubeconfig_still_works_and_a_new_one_is_written_on_request(cluster: Cluster, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.conf"
    assert rotate(cluster, "--kubeconfig", str(fresh)).returncode == 0
    assert fresh.read_text() != cluster.kubeconfig.read_text()
    for kubeconfig in (cluster.kubeconfig, fresh):
        assert cluster.try_kubectl("get", "--raw=/version", kubeconfig=kubeconfig)[0] == 0


def test_a_name_added_to_the_inventory_is_served_after_a_rotation_that_renews_nothing_else(cluster: Cluster) -> None:
    file = cluster.lab.inventory / "group_vars" / "all.yml"
    yaml = YAML()
    body = yaml.load(file)
    body["cluster_extra_sans"] = ["new.example.org"]
    yaml.dump(body, file)
    before = serials(cluster)
    dry = rotate(cluster, "--dry-run")
    assert dry.stdout.count("apiserver: does not name new.example.org") == 3
    assert serials(cluster) == before
    done = rotate(cluster)
    assert done.returncode == 0, done.stderr
    after = serials(cluster)
    assert {name for (node, name), serial in after.items() if serial != before[node, name]} == {"apiserver"}
    authority = cluster.on_each(f"cat {PKI}/ca.crt")["cp1"]
    context = ssl.create_default_context(cadata=authority)
    for node in load_inventory(cluster.lab.inventory).control_plane:
        with socket.create_connection((node.address, 6443), 5) as plain:
            context.wrap_socket(plain, server_hostname="new.example.org").close()


# What is wrong on one node.


def authorities_of(cluster: Cluster) -> Authorities:
    node = load_inventory(cluster.lab.inventory).control_plane[0]
    with connect(node) as connection:
        return Authorities.from_files(
            {path: connection.read(path, sudo=True, timeout=10).decode() for path in SHARED_FILES}
        )


def swapped_key(_cluster: Cluster) -> dict[str, str]:
    return {"apiserver.key": key_to_pem(new_key("ecdsa-p256"))}


def wrong_names(cluster: Cluster) -> dict[str, str]:
    described = load_inventory(cluster.lab.inventory)
    facts = collect(described).nodes["cp2"]  # another node's names
    leaf = next(leaf for leaf in leaves_of(identity(described, facts)) if leaf.name == "etcd/server")
    key = new_key("ecdsa-p256")
    made = issue(authorities_of(cluster).etcd, leaf.profile, key=key, days=365)
    return {"etcd/server.crt": certificate_to_pem(made), "etcd/server.key": key_to_pem(key)}


def lay_down(cluster: Cluster, node: str, files: dict[str, str]) -> None:
    """Write over files below the PKI of a node; their owner and mode stay."""
    for name, content in files.items():
        cluster.lab.on(node, f"cat > {PKI}/{name} <<EOF\n{content}EOF")


def found_and_refused(cluster: Cluster, check: str) -> None:
    """What is wrong on cp1 is told by certs, and the gate keeps cp1 from being restarted."""
    code, document = listed(cluster)
    assert code == Exit.REFUSED
    assert (check, "cp1") in {(f["check"], f["node"]) for f in document["findings"] if f["level"] == "fail"}
    gate = run_cpkit("gate", "before", "-i", cluster.lab.name, "--node", "cp1", "--wait", "2")
    assert gate.returncode == Exit.REFUSED
    assert check in gate.stdout


def test_another_clusters_ca_on_one_node_is_found_and_nothing_is_signed_with_it(cluster: Cluster) -> None:
    cluster.settle()
    before = cluster.on_each(f"cat {PKI}/ca.crt; cat {PKI}/ca.key")["cp1"].partition("-----BEGIN EC")
    mine = {"ca.crt": before[0], "ca.key": f"{before[1]}{before[2]}\n"}
    other = create(key_type="ecdsa-p256", ca_days=100).cluster
    lay_down(cluster, "cp1", {"ca.crt": other.certificate_pem, "ca.key": other.key_pem})
    try:
        found_and_refused(cluster, "certs.authorities")
        leaves = cluster.on_each(LEAF_FILES)
        done = rotate(cluster, "--only", "scheduler")
        assert done.returncode == Exit.REFUSED, done.stdout
        assert "ca.crt is not that of the other nodes" in done.stderr or "cp1" in done.stderr
        assert cluster.on_each(LEAF_FILES) == leaves
    finally:
        lay_down(cluster, "cp1", mine)
    cluster.settle()
    assert "no leaf is due" in rotate(cluster).stdout, "what was refused before any node was touched is not resumed"


@pytest.mark.parametrize(
    ("spoil", "check", "leaf"),
    [(swapped_key, "certs.keys", "apiserver"), (wrong_names, "certs.names", "etcd/server")],
)
def test_a_leaf_that_is_wrong_on_one_node_is_found_refused_before_a_restart_and_mended_without(
    cluster: Cluster, spoil: Callable[[Cluster], dict[str, str]], check: str, leaf: str
) -> None:
    cluster.settle()
    lay_down(cluster, "cp1", spoil(cluster))
    found_and_refused(cluster, check)
    started, before = cluster.unit_starts(), serials(cluster)
    done = rotate(cluster)
    assert done.returncode == 0, done.stderr
    assert cluster.unit_starts() == started
    assert {place for place, serial in serials(cluster).items() if serial != before[place]} == {("cp1", leaf)}
    assert listed(cluster)[0] == Exit.OK


def test_new_leaves_that_are_not_taken_into_use_are_taken_back(cluster: Cluster) -> None:
    cluster.settle()
    before = cluster.on_each(LEAF_FILES)
    described = load_inventory(cluster.lab.inventory)
    variables = {"leaves_renew": "all", "leaves_wait": 3, "gate_asked": True}
    words = ["ansible-playbook", "-i", str(described.inventory), str(ansible_root() / "playbooks/rotate_leaves.yml")]
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(ansible_root() / "playbooks/ansible.cfg"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    cluster.lab.on("cp1", "systemctl kill -s STOP kube-scheduler")
    try:
        done = subprocess.run(
            [*words, "--extra-vars", json.dumps(variables)],
            env=environment, capture_output=True, text=True, timeout=LONGEST, check=False,
        )  # fmt: skip
    finally:
        cluster.lab.on("cp1", "systemctl kill -s CONT kube-scheduler")
    assert done.returncode != 0
    assert "and the previous ones are back" in done.stdout
    assert cluster.on_each(LEAF_FILES) == before, "cp1 has its files back, and cp2 and cp3 were not touched"
    assert set(cluster.on_each(f"ls -d {PREVIOUS} 2>/dev/null || true").values()) == {""}
    assert run_cpkit("unlock", "-i", cluster.lab.name, "--yes").returncode == 0
    cluster.settle()


# A run that is cut off.


def journal(cluster: Cluster) -> list[dict[str, Any]]:
    text = newest(cluster, "run.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("task", ["Renew the leaves", "Let go of the previous leaves"])
def test_a_rotation_killed_on_the_second_node_is_taken_up_and_renews_nothing_twice(cluster: Cluster, task: str) -> None:
    cluster.settle()
    before = serials(cluster)
    runs = len(cluster.lab.runs("rotate-certs"))

    def reached() -> bool:
        new = len(cluster.lab.runs("rotate-certs")) > runs
        return new and sum(e["event"] == "task" and e["name"] == task for e in journal(cluster)) == 2

    command = [sys.executable, "-m", "cpkit", "rotate-certs", "-i", cluster.lab.name, "--all", "--yes"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        await_that(lambda: reached() or process.poll() is not None, LONGEST)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done = rotate(cluster, "--all")
    assert done.returncode == 0, done.stderr
    assert "this finishes a rotation that an earlier run began" in done.stderr
    after = serials(cluster)
    assert all(after[place] != serial for place, serial in before.items())
    first = next(event for event in journal(cluster) if event["event"] == "target")["nodes"]
    untouched = [node for node, leaves in first.items() if not leaves]
    assert untouched, "the first node is not in what was left to do"
    assert set(cluster.on_each(f"ls -d {PREVIOUS} /run/cpkit/lock.json 2>/dev/null || true").values()) == {""}
    assert rotate(cluster).stdout.count("no leaf is due") == 1


# A CA whose key no node has.


def sign(folder: Path, authorities: Authorities, home: Path) -> None:
    """What whoever keeps the keys does, as the page in the folder says."""
    held = {"etcd": authorities.etcd, "front_proxy": authorities.front_proxy, "cluster": authorities.cluster}
    for name, authority in held.items():
        (home / f"{name}.crt").write_text(authority.certificate_pem)
        (home / f"{name}.key").write_text(authority.key_pem)
    named = [line.split("|") for line in (folder / "README.md").read_text().splitlines() if line.startswith("| `cp")]
    for _, request, ca, *_ in named:
        name, signer = str(folder / request.strip(" `")), str(home / ca.strip())
        words = ["-CA", f"{signer}.crt", "-CAkey", f"{signer}.key", "-days", "90", "-copy_extensions", "copy"]
        words += ["-out", name.removesuffix(".csr") + ".crt"]
        subprocess.run(["openssl", "x509", "-req", "-in", name, *words], check=True, capture_output=True, timeout=20)


def test_leaves_are_signed_by_a_ca_whose_key_no_node_has(cluster: Cluster, tmp_path: Path) -> None:
    cluster.settle()
    folder, leaves = tmp_path / "requests", ("apiserver", "etcd/server", "scheduler", "admin.conf")
    words = ("--only", ",".join(leaves), "--csr-dir", str(folder))
    authorities, before, started = authorities_of(cluster), serials(cluster), cluster.unit_starts()
    move = f"cd {PKI} && for each in ca front-proxy-ca etcd/ca; do mv $each.key"
    cluster.on_each(f"{move} $each.key.away; done")
    try:
        assert listed(cluster)[0] == Exit.OK, "a CA's key may be kept elsewhere"
        refused = rotate(cluster, "--only", "scheduler")
        assert (refused.returncode, "--csr-dir" in refused.stderr) == (Exit.REFUSED, True), refused.stderr
        asked = rotate(cluster, *words)
        assert asked.returncode == 0, asked.stderr
        assert serials(cluster) == before, "what is in use stays as it is until the certificates are there"
        requests = {path: path.read_bytes() for path in folder.rglob("*.csr")}
        assert len(requests) == 3 * len(leaves)
        assert not any(b"PRIVATE KEY" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
        sign(folder, authorities, tmp_path)
        good = (folder / "cp2/scheduler.crt").read_text()
        (folder / "cp2/scheduler.crt").write_text((folder / "cp3/scheduler.crt").read_text())
        (folder / "cp1/etcd-server.crt").rename(folder / "cp1/etcd-peer.crt")
        wrong = rotate(cluster, *words)
        assert wrong.returncode == Exit.USAGE, wrong.stdout
        for told in ("cp2/scheduler.crt: is for another key", "cp1/etcd-server.crt: is missing"):
            assert told in wrong.stderr
        assert serials(cluster) == before
        (folder / "cp2/scheduler.crt").write_text(good)
        (folder / "cp1/etcd-peer.crt").rename(folder / "cp1/etcd-server.crt")
        done = rotate(cluster, *words)
        assert done.returncode == 0, done.stderr
        told = json.loads(cluster.lab.runs("rotate-signed")[-1].joinpath("report.json").read_text())
        assert told["availability"]["failed"] == 0
        assert cluster.unit_starts() == started
        after = credentials(cluster)
        changed = {place for place, serial in before.items() if after[place]["serial"] != serial}
        assert changed == {(node, leaf) for node in cluster.control_plane for leaf in leaves}
        assert {after[place]["level"] for place in changed} == {"ok"}
        assert 89 <= after["cp1", "apiserver"]["days_left"] <= 90
        assert set(cluster.on_each("ls -d /var/lib/cpkit/requests 2>/dev/null || true").values()) == {""}
        assert "nothing is left" in rotate(cluster, *words).stdout
    finally:
        cluster.on_each(f"{move}.away $each.key; done")
    cluster.settle()


# After the end.


def expire(cluster: Cluster) -> None:
    """Give every node leaves that ended yesterday, and start everything anew as after a power cut."""
    described, authorities = load_inventory(cluster.lab.inventory), authorities_of(cluster)
    facts = collect(described).nodes
    then = datetime.now(UTC) - timedelta(days=366)
    for node in cluster.control_plane:
        for leaf in leaves_of(identity(described, facts[node])):
            if leaf.name == "admin.conf":
                continue
            key = new_key("ecdsa-p256")
            made = issue(leaf.signer(authorities), leaf.profile, key=key, days=365, now=then)
            for kind, content in (("key", key_to_pem(key)), ("crt", certificate_to_pem(made))):
                cluster.lab.on(node, f"cat > {PKI}/{leaf.name}.{kind} <<EOF\n{content}EOF")
    restart = "systemctl restart --no-block etcd kube-apiserver kube-controller-manager kube-scheduler"
    cluster.on_each(restart)


def test_a_cluster_whose_leaves_have_all_ended_comes_back_by_one_command(cluster: Cluster) -> None:
    cluster.settle()
    refused = rotate(cluster, "--recover-expired")
    assert refused.returncode == Exit.USAGE
    assert "no leaf has ended" in refused.stderr
    cluster.kubectl("create", "configmap", "from-before", "--from-literal=word=kept")
    expire(cluster)
    await_that(lambda: cluster.try_kubectl("get", "--raw=/readyz")[0] != 0, 60)
    code, document = listed(cluster)
    assert code == Exit.REFUSED
    ended = [each for each in document["credentials"] if each["days_left"] is not None and each["days_left"] < 0]
    assert len(ended) == 3 * (len(NAMES) - 1)
    assert rotate(cluster).returncode == Exit.REFUSED, "the gate of every node is shut"
    done = rotate(cluster, "--recover-expired")
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201 - a measurement to be read
    assert cluster.settle().rc == 0
    assert listed(cluster)[0] == Exit.OK
    assert cluster.kubectl("get", "configmap", "from-before", "-o", "jsonpath={.data.word}") == "kept"
