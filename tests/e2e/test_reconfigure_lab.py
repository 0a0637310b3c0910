"""A running cluster is given other flags and settings under load: planned, applied, proven, taken back, put right."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from cpkit.errors import Exit
from tests.e2e.load import load
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import HEALTHY, Cluster, await_that, bootstrap

pytestmark = pytest.mark.long
SAN = "api.reconfigured.example.org"
CHANGED = f"""
kube_apiserver_extra_args: {{max-requests-inflight: "500"}}
etcd_extra_args: {{snapshot-count: "20000"}}
load_balancer_algorithm: leastconn
cluster_extra_sans: [{SAN}]
cluster_feature_gates: {{ContextualLogging: false}}
kube_apiserver_audit_policy: |
  apiVersion: audit.k8s.io/v1
  kind: Policy
  rules: [{{level: Metadata}}]
"""
# What the policy of before leaves out: who leads, told every two seconds.
LEASES = 'grep -c \'leases/kube-scheduler.*"username":"system:kube-scheduler"\' /var/log/kubernetes/audit.log || true'
ORDER = [
    "Renew leaves",
    "Reload balancer",
    "Reconfigure etcd",
    "Reconfigure kube-apiserver",
    "Reconfigure the controllers",
]
DRIFT = 2
LONGEST = 600.0


@pytest.fixture(scope="module")
def cluster(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return bootstrap(make_lab(nodes=3, balancers=2), tmp_path_factory.mktemp("kubeconfig"))


def variables(cluster: Cluster) -> Path:
    return cluster.lab.inventory / "group_vars" / "all.yml"


def plan(cluster: Cluster, *words: str) -> tuple[int, dict[str, Any]]:
    done = run_cpkit("plan", "-i", cluster.lab.name, "-o", "json", *words)
    assert done.returncode in {Exit.OK, DRIFT}, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def reconfigure(cluster: Cluster, *words: str) -> CompletedProcess[str]:
    return run_cpkit("reconfigure", "-i", cluster.lab.name, "--yes", *words, timeout=LONGEST)


def report(cluster: Cluster) -> dict[str, Any]:
    """What the newest run left."""
    found: dict[str, Any] = json.loads((newest(cluster) / "report.json").read_text())
    return found


def journal(cluster: Cluster) -> str:
    """What the newest run has written so far."""
    path = newest(cluster) / "run.jsonl"
    return path.read_text() if path.exists() else ""


def newest(cluster: Cluster) -> Path:
    """The folder of the newest run."""
    return cluster.lab.runs("reconfigure")[-1]


@contextmanager
def asked_for(cluster: Cluster, line: str) -> Iterator[None]:
    """The inventory with one line more, for a while."""
    held = variables(cluster).read_text()
    variables(cluster).write_text(f"{held}{line}\n")
    try:
        yield
    finally:
        variables(cluster).write_text(held)


def names_served(cluster: Cluster) -> dict[str, str]:
    ask = "openssl s_client -connect 127.0.0.1:6443 </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName"
    return cluster.on_each(ask)


def flags_of(cluster: Cluster, program: str) -> dict[str, str]:
    """What the processes were started with, on each node."""
    return cluster.on_each(f"tr '\\0' ' ' < /proc/$(pidof {program})/cmdline")


def starts(cluster: Cluster) -> dict[tuple[str, str], str]:
    """(node, unit) -> when its process began."""
    found = {}
    for node, told in cluster.unit_starts().items():
        for block in told.split("\n\n"):
            unit = dict(line.split("=", 1) for line in block.splitlines())
            found[node, unit["Id"].removesuffix(".service")] = block
    return found


def test_what_the_inventory_changes_is_planned_and_applied_with_no_failed_request(cluster: Cluster) -> None:
    assert plan(cluster)[0] == Exit.OK, "a new cluster has what its inventory asks for"
    leader = str(cluster.health().report["etcd"]["leader"])
    assert set(cluster.on_each(LEASES).values()) == {"0"}
    variables(cluster).write_text(variables(cluster).read_text() + CHANGED)

    code, found = plan(cluster)
    nodes = ["cp1", "cp2", "cp3"]
    assert code == DRIFT
    assert {(each["component"], each["action"]) for each in found["changes"]} == {
        ("leaves", "renew"),
        ("haproxy", "reload"),
        ("etcd", "restart"),
        ("kube-apiserver", "restart"),
        ("kube-controller-manager", "restart"),
        ("kube-scheduler", "restart"),
    }
    assert [sorted(each["nodes"]) for each in found["rounds"]] == [nodes, ["lb1", "lb2"], nodes, nodes, nodes]
    assert [each["nodes"][-1] for each in found["rounds"] if "lb1" not in each["nodes"]] == [leader] * 4
    told = json.dumps(found["changes"])
    wanted = ("max-requests-inflight=500", "snapshot-count=20000", "leastconn", "apiserver", "ContextualLogging=false")
    assert all(each in told for each in wanted)

    before = starts(cluster)
    with load(cluster.kubeconfig) as seen:
        done = reconfigure(cluster)
    assert done.returncode == Exit.OK, done.stdout + done.stderr
    assert not seen.errors, (str(seen), seen.errors[:5])
    assert not seen.lost()
    assert seen.rate >= 50, seen
    meanwhile = report(cluster)["availability"]
    assert meanwhile["failed"] == 0
    assert meanwhile["longest_gap"] < 1
    assert all("--max-requests-inflight=500" in told for told in flags_of(cluster, "kube-apiserver").values())
    assert all("--snapshot-count=20000" in told for told in flags_of(cluster, "etcd").values())
    assert all(SAN in told for told in names_served(cluster).values())
    for program in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        assert all("--feature-gates=ContextualLogging=false" in told for told in flags_of(cluster, program).values())
    await_that(lambda: any(count != "0" for count in cluster.on_each(LEASES).values()), 30)
    restarted = {unit for unit, began in starts(cluster).items() if before[unit] != began}
    assert restarted == {(node, unit) for node, unit in before if node in nodes}, "and no balancer"
    turns = [step["step"] for step in report(cluster)["steps"] if " on " in step["step"]]
    assert len(turns) == 4 * 3 + 2
    assert [turn.rpartition(" on ")[0] for turn in turns] == sorted(
        (turn.rpartition(" on ")[0] for turn in turns), key=ORDER.index
    )
    assert cluster.settle().rc == HEALTHY


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    before = starts(cluster)
    done = reconfigure(cluster, "-o", "json")
    assert done.returncode == Exit.OK, done.stdout + done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["changed"], last["turns"]) == (0, [])
    assert starts(cluster) == before


def test_what_cannot_be_changed_in_place_is_refused_before_anything_is_done(cluster: Cluster) -> None:
    before = starts(cluster)
    for line, says in (
        ("cluster_service_cidr: 10.99.0.0/16", "not changed in place"),
        ('kube_scheduler_extra_args: {no-such-flag: "yes"}', "does not take the inventory's flags"),
    ):
        with asked_for(cluster, line):
            done = reconfigure(cluster)
        assert done.returncode == Exit.REFUSED, done.stdout + done.stderr
        assert says in done.stderr
    assert starts(cluster) == before


def test_a_node_that_does_not_come_up_is_put_back_and_the_run_stops(cluster: Cluster) -> None:
    held, files = (
        variables(cluster).read_text(),
        cluster.on_each("sha256sum /etc/systemd/system/kube-apiserver.service"),
    )
    bad = held.replace('max-requests-inflight: "500"', 'max-requests-inflight: "-5"')
    variables(cluster).write_text(bad)
    try:
        with load(cluster.kubeconfig) as seen:
            done = reconfigure(cluster)
    finally:
        variables(cluster).write_text(held)
    assert done.returncode == Exit.FAILED, done.stdout + done.stderr
    assert "did not come up with the new files, and the node has those of before again" in done.stderr
    assert "max-requests-inflight" in done.stderr, "the server's own words say why"
    turns = [step for step in report(cluster)["steps"] if " on " in step["step"]]
    assert [step["outcome"] for step in turns] == ["failed"], "no second node was touched"
    assert not seen.errors, (str(seen), seen.errors[:5])
    assert cluster.on_each("sha256sum /etc/systemd/system/kube-apiserver.service") == files
    assert cluster.settle().rc == HEALTHY
    assert plan(cluster)[0] == Exit.OK


def test_what_was_changed_by_hand_is_found_and_put_right(cluster: Cluster) -> None:
    unit, haproxy = "/etc/systemd/system/kube-scheduler.service", "/etc/haproxy/haproxy.cfg"
    # The process keeps the flag though the file is right again; the other balancer and nodes are as they were.
    edit = f"cp -a {unit} /root/kept && sed -i 's/--leader-elect=true/--leader-elect=true --v=4/' {unit}"
    again = "systemctl daemon-reload && systemctl restart kube-scheduler"
    cluster.lab.on("cp2", f"{edit} && {again} && cp -a /root/kept {unit} && systemctl daemon-reload")
    cluster.lab.on("lb1", f"sed -i 's/balance leastconn/balance source/' {haproxy} && systemctl reload haproxy")
    before = starts(cluster)

    code, found = plan(cluster)
    assert code == DRIFT
    changes = {(each["node"], each["component"], each["action"]) for each in found["changes"]}
    assert changes == {("cp2", "kube-scheduler", "restart"), ("lb1", "haproxy", "reload")}
    assert "--v" in json.dumps(found["changes"])
    done = reconfigure(cluster)
    assert done.returncode == Exit.OK, done.stdout + done.stderr
    assert "--v=4" not in flags_of(cluster, "kube-scheduler")["cp2"]
    assert "balance leastconn" in cluster.lab.on("lb1", f"cat {haproxy}")
    assert {unit for unit, began in starts(cluster).items() if before[unit] != began} == {("cp2", "kube-scheduler")}
    assert plan(cluster)[0] == Exit.OK
    assert cluster.settle().rc == HEALTHY


def test_one_node_first_then_the_rest_and_ctrl_c_stops_after_a_node(cluster: Cluster) -> None:
    def changed() -> set[str]:
        return {node for node, told in flags_of(cluster, "kube-scheduler").items() if "--v=3" in told}

    with asked_for(cluster, 'kube_scheduler_extra_args: {v: "3"}'):
        done = reconfigure(cluster, "--only", "cp2")
        assert done.returncode == Exit.OK, done.stdout + done.stderr
        assert "Left for another run: cp1, cp3" in done.stdout
        assert changed() == {"cp2"}

        earlier = newest(cluster)
        words = [sys.executable, "-m", "cpkit", "reconfigure", "-i", cluster.lab.name, "--yes"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            await_that(lambda: newest(cluster) != earlier and "controllers on" in journal(cluster), 60)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=LONGEST)
        assert process.returncode == Exit.INTERRUPTED, out + err
        assert "Run the same command again" in err
        assert len(changed()) == 2, "the node under way was finished, and no other begun"

        done = reconfigure(cluster)
        assert done.returncode == Exit.OK, done.stdout + done.stderr
        assert changed() == {"cp1", "cp2", "cp3"}
        assert len([step for step in report(cluster)["steps"] if " on " in step["step"]]) == 1
    assert reconfigure(cluster).returncode == Exit.OK
    assert changed() == set()


def test_a_balancer_that_does_not_serve_gets_its_files_back_and_the_other_is_left_alone(cluster: Cluster) -> None:
    balancers = ["lb1", "lb2"]
    files = cluster.on_each("sha256sum /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf", balancers)
    began = cluster.on_each("systemctl show keepalived haproxy -p ExecMainStartTimestamp", ["lb2"])
    with asked_for(cluster, "load_balancer_interface: eth9"):
        done = reconfigure(cluster)
    assert done.returncode == Exit.FAILED, done.stdout + done.stderr
    assert "the balancer has those of before again" in done.stderr
    assert cluster.on_each("sha256sum /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf", balancers) == files
    assert cluster.on_each("systemctl show keepalived haproxy -p ExecMainStartTimestamp", ["lb2"]) == began
    assert cluster.settle().rc == HEALTHY
    assert plan(cluster)[0] == Exit.OK
