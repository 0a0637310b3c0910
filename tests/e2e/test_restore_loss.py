"""Losses in a lab: two of three members, then every machine; others take their places, from a store and a key."""

import json
import re
from pathlib import Path

import pytest

from cpkit.errors import Exit
from cpkit.inventory import load
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import Cluster, bootstrap

pytestmark = pytest.mark.long
LONGEST = 600.0
SPACE = "kept"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loss")


@pytest.fixture(scope="module")
def cluster(make_lab: LabFactory, folder: Path) -> Cluster:
    made = bootstrap(make_lab(nodes=3, balancers=1), folder)
    made.settle()
    made.kubectl("create", "namespace", SPACE)
    for number in range(20):
        made.kubectl("create", "configmap", f"c{number}", "-n", SPACE, f"--from-literal=n={number}")
    made.kubectl("create", "secret", "generic", "hidden", "-n", SPACE, "--from-literal=word=shown")
    (folder / "store").mkdir()
    run_cpkit("backup", "key", str(folder / "key"))
    return made


def kept(cluster: Cluster) -> dict[str, str]:
    """The UIDs of what must outlive everything."""
    words = ("get", "configmaps,secrets", "-n", SPACE, "-o", "json")
    code, out, error = cluster.try_kubectl(*words)
    assert code == 0, error
    return {f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["uid"] for each in json.loads(out)["items"]}


def test_quorum_that_only_needs_a_start_is_not_rebuilt(cluster: Cluster, folder: Path) -> None:
    name = cluster.lab.name
    words = ("etcd", "recover", "-i", name, "--store", str(folder / "store"), "--identity", str(folder / "key"))
    whole = run_cpkit(*words, "--confirm", name)
    assert (whole.returncode, "quorum is not lost" in whole.stderr) == (Exit.REFUSED, True)
    cluster.on_each("systemctl stop etcd", ["cp2", "cp3"], timeout=40)
    try:
        down = run_cpkit(*words, "--confirm", name)
        assert (down.returncode, "its data is there" in down.stderr) == (Exit.REFUSED, True), down.stderr
    finally:
        cluster.on_each("systemctl start etcd", ["cp2", "cp3"], timeout=60)
    cluster.settle()


def test_two_of_three_members_lost(cluster: Cluster, folder: Path) -> None:
    name, before = cluster.lab.name, kept(cluster)
    cluster.on_each("systemctl stop etcd; mv /var/lib/etcd/member /root/lost", ["cp2", "cp3"], timeout=40)
    words = ("etcd", "recover", "-i", name, "--store", str(folder / "store"), "--identity", str(folder / "key"))
    looked = run_cpkit(*words, "--dry-run", timeout=LONGEST)
    assert looked.returncode == 0, looked.stderr
    assert "→ cp1" in looked.stderr
    done = run_cpkit(*words, "--confirm", name, timeout=LONGEST)
    assert done.returncode == 0, done.stderr
    assert kept(cluster) == before
    assert cluster.settle().rc == 0
    assert "3 healthy" in cluster.settle().summary
    assert cluster.on_each("ls -d /var/lib/etcd.before-*/member", ["cp1"])["cp1"]


def test_every_machine_lost_and_others_take_their_places(cluster: Cluster, folder: Path, make_lab: LabFactory) -> None:
    before = kept(cluster)
    token = cluster.kubectl("create", "token", "default", "-n", SPACE, "--duration=1h")
    store = folder / "far"
    store.mkdir()
    recipient = next(line for line in (folder / "key").read_text().splitlines() if "public key" in line).split()[-1]
    taken = run_cpkit("backup", "etcd", "-i", cluster.lab.name, "--to", str(store), "--recipient", recipient)
    assert taken.returncode == 0, taken.stderr
    assert run_cpkit("lab", "down", cluster.lab.name).returncode == 0

    lab = make_lab(nodes=3, balancers=1)
    hosts = lab.inventory / "hosts.yml"
    hosts.write_text(hosts.read_text().replace(" cp", " n"))
    addresses = {node.name: node.address for node in load(lab.inventory).control_plane}
    assert set(addresses) == {"n1", "n2", "n3"}
    words = ["restore", "etcd", "-i", lab.name, "--from", str(store), "--identity", str(folder / "key")]
    unnamed = run_cpkit(*words, "--confirm", lab.name)
    assert (unnamed.returncode, "--map" in unnamed.stderr) == (Exit.USAGE, True), unnamed.stderr
    words += ["--backup", next(store.glob("*.json")).stem, "--confirm", lab.name]
    unmapped = run_cpkit(*words)
    assert unmapped.returncode == Exit.REFUSED, unmapped.stderr
    suggested = re.findall(r"--map (\S+)", unmapped.stderr)[-1]
    assert suggested == ",".join(f"cp{name[1:]}={address}" for name, address in addresses.items())
    looked = run_cpkit(*words, "--map", suggested, "--dry-run", timeout=LONGEST)
    assert (looked.returncode, "The machines are fresh" in looked.stderr) == (0, True), looked.stderr
    done = run_cpkit(*words, "--map", suggested, timeout=LONGEST)
    assert done.returncode == 0, done.stderr

    kubeconfig = Path.home() / ".kube" / f"{lab.name}.conf"
    moved = Cluster(lab, folder / "moved.conf")
    kubeconfig.rename(moved.kubeconfig)
    assert kept(moved) == before
    assert moved.kubectl("get", "secret", "hidden", "-n", SPACE, "-o", "jsonpath={.data.word}") == "c2hvd24="
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    user = moved.kubectl("create", "-f", "-", "-o", "jsonpath={.status.user.username}", stdin=json.dumps(review))
    assert user == f"system:serviceaccount:{SPACE}:default"
    for kind, path in {"endpoints": "..ip", "endpointslices": ".endpoints[*].addresses[*]"}.items():
        told = moved.kubectl("get", kind, "kubernetes", "-o", f"jsonpath={{{path}}}")
        assert set(told.split()) == set(addresses.values())
    leases = moved.kubectl("get", "leases", "-n", "kube-system", "-o", "name", "-l", "apiserver.kubernetes.io/identity")
    assert len(leases.split()) == len(addresses)
    health = moved.settle()
    assert (health.rc, "3 healthy" in health.summary) == (0, True)
