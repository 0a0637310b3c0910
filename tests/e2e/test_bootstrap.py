"""Three nodes and two balancers, from bare machines: what the cluster does, how it is kept, what a run leaves."""

import base64
import json
import os
import re
import secrets
import shutil
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cpkit.paths import state_dir
from tests.e2e.raised import LabFactory, RaisedLab, run_cpkit
from tests.e2e.running import HEALTHY, Cluster, await_that, bootstrap

PLAIN = f"plain-{secrets.token_hex(8)}"
ETCD = "/etc/kubernetes/pki/etcd"
ETCDCTL = (
    "/opt/cpkit/etcd/current/etcdctl --endpoints https://127.0.0.1:2379 "
    f"--cacert {ETCD}/ca.crt --cert {ETCD}/healthcheck-client.crt --key {ETCD}/healthcheck-client.key"
)
# Everything on a machine, by name, mode, owner and content; without what a machine writes by itself, and without
# ~/.ansible/tmp, which Ansible makes on every machine it visits, and leaves empty.
LISTING = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /var/log -o -path /var/lib/systemd -o -path /var/cache \\) "
    "-prune -o \\( -type f -o -type d -o -type l \\) -printf '%p %y %m %u:%g %l\\n' "
    "| grep -vE '/[.]ansible(/tmp)? d ' | sort; "
    "find /etc /opt /usr/local -xdev -type f -exec md5sum {} + | sort; systemctl list-unit-files --no-pager"
)


@dataclass(frozen=True)
class Rehearsal:
    """A dry run on bare machines, and what they held before and after it."""

    lab: RaisedLab
    rc: int
    output: str
    before: dict[str, str]
    after: dict[str, str]


@pytest.fixture(scope="module")
def rehearsal(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    lab = make_lab(nodes=3, balancers=2)
    bare = Cluster(lab, tmp_path_factory.mktemp("none") / "kubeconfig")
    machines = (*bare.control_plane, *bare.balancers)
    before = bare.on_each(LISTING, machines)
    done = run_cpkit("bootstrap", "-i", lab.name, "--dry-run", "--diff", "--kubeconfig", str(bare.kubeconfig))
    assert not bare.kubeconfig.exists()
    return Rehearsal(lab, done.returncode, done.stdout + done.stderr, before, bare.on_each(LISTING, machines))


@pytest.fixture(scope="module")
def cluster(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return bootstrap(rehearsal.lab, tmp_path_factory.mktemp("kubeconfig"))


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    name = f"e2e-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("-n", name, "create", "secret", "generic", "quiet", f"--from-literal=word={PLAIN}")
    cluster.kubectl("-n", name, "create", "configmap", "loud", f"--from-literal=word={PLAIN}")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def test_a_dry_run_on_bare_machines_says_what_it_would_do_and_changes_nothing(rehearsal: Rehearsal) -> None:
    assert rehearsal.rc == 0, rehearsal.output
    assert re.search(r"Dry run: [1-9]\d* changes would be made, none was", rehearsal.output)
    assert "+ExecStart=/opt/cpkit/etcd/current/etcd" in rehearsal.output, "--diff shows the units"
    assert "PRIVATE KEY" not in rehearsal.output
    for machine, held in rehearsal.before.items():
        assert rehearsal.after[machine].splitlines() == held.splitlines(), machine


def test_bootstrap_ends_with_a_healthy_cluster_and_names_the_next_commands(cluster: Cluster) -> None:
    assert "3 voters, 3 healthy: one more may fail" in cluster.output
    assert f"export KUBECONFIG={cluster.kubeconfig}" in cluster.output
    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600
    health = cluster.health()
    assert health.rc == HEALTHY, health.troubles("fail", "unknown")
    assert health.summary.startswith("3 voters, 3 healthy: one more may fail")
    assert f":{6443}" in cluster.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
    assert cluster.endpoint in cluster.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")


def test_objects_come_back_as_they_went_in(cluster: Cluster, namespace: str) -> None:
    assert cluster.kubectl("-n", namespace, "get", "configmap", "loud", "-o", "jsonpath={.data.word}") == PLAIN
    kept = cluster.kubectl("-n", namespace, "get", "secret", "quiet", "-o", "jsonpath={.data.word}")
    assert base64.b64decode(kept).decode() == PLAIN
    assert cluster.kubectl("get", "namespace", namespace, "-o", "jsonpath={.status.phase}") == "Active"


def test_a_secret_is_encrypted_in_the_bytes_etcd_keeps(cluster: Cluster, namespace: str) -> None:
    def raw(kind: str, name: str) -> dict[str, bytes]:
        line = f"{ETCDCTL} get /registry/{kind}/{namespace}/{name} --print-value-only | base64 -w0"
        return {node: base64.b64decode(told) for node, told in cluster.on_each(line).items()}

    for node, value in raw("secrets", "quiet").items():
        assert value.startswith(b"k8s:enc:secretbox:v1:"), (node, value[:40])
        assert PLAIN.encode() not in value
    for value in raw("configmaps", "loud").values():
        assert PLAIN.encode() in value, "what is not encrypted is found by the same look"


def test_a_service_account_token_is_who_it_says_and_may_what_it_was_given(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "robot")
    config = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": cluster.kubectl("-n", namespace, "create", "token", "robot")}
    robot = tmp_path / "robot.json"
    robot.write_text(json.dumps(config))

    def ask(*words: str) -> str:
        return cluster.try_kubectl("-n", namespace, *words, kubeconfig=robot)[1]

    username = f"system:serviceaccount:{namespace}:robot"
    assert json.loads(ask("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"] == username
    assert ask("auth", "can-i", "get", "configmaps") == "no"
    grant = ("create", "rolebinding", "robot", "--clusterrole=view", f"--serviceaccount={namespace}:robot")
    cluster.kubectl("-n", namespace, *grant)
    await_that(lambda: ask("auth", "can-i", "get", "configmaps") == "yes", 10)
    assert ask("get", "configmap", "loud", "-o", "jsonpath={.data.word}") == PLAIN
    assert ask("auth", "can-i", "get", "secrets") == "no"


def test_the_controllers_and_the_scheduler_do_their_work(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "create", "deployment", "web", "--image=example.invalid/web", "--replicas=2")
    unschedulable = (
        "jsonpath={range .items[*]}{.metadata.ownerReferences[0].kind}="
        "{.status.conditions[?(@.type=='PodScheduled')].reason} {end}"
    )

    def pods() -> list[str]:
        return cluster.kubectl("-n", namespace, "get", "pods", "-l", "app=web", "-o", unschedulable).split()

    await_that(lambda: pods() == ["ReplicaSet=Unschedulable"] * 2, 30, lambda: str(pods()))
    assert cluster.kubectl("-n", namespace, "get", "replicasets", "-o", "jsonpath={.items[*].spec.replicas}") == "2"


def test_what_an_object_owns_is_collected_with_it(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "create", "configmap", "owner")
    uid = cluster.kubectl("-n", namespace, "get", "configmap", "owner", "-o", "jsonpath={.metadata.uid}")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    owned = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "owned", "ownerReferences": [owner]},
    }
    cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(owned))
    cluster.kubectl("-n", namespace, "delete", "configmap", "owner")
    look = ("-n", namespace, "get", "configmap", "owned", "--ignore-not-found", "-o", "name")
    await_that(lambda: not cluster.kubectl(*look), 30)


def test_nobody_is_anonymous_but_to_ask_for_health(cluster: Cluster) -> None:
    (authority,) = {*cluster.on_each("cat /etc/kubernetes/pki/ca.crt").values()}
    context = ssl.create_default_context(cadata=authority)

    def status(path: str) -> int:
        connection = HTTPSConnection(cluster.endpoint, 6443, timeout=5, context=context)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    assert {path: status(path) for path in ("/readyz", "/livez", "/healthz")} == dict.fromkeys(
        ("/readyz", "/livez", "/healthz"), 200
    )
    for path in ("/api", "/version", "/metrics", "/openapi/v2", "/api/v1/secrets", "/readyz/etcd"):
        assert status(path) in {401, 403}, path


def test_the_administrator_is_one_by_a_binding_that_can_be_taken_away(cluster: Cluster) -> None:
    groups = json.loads(cluster.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["groups"]
    assert "kubeadm:cluster-admins" in groups
    assert "system:masters" not in groups
    found = cluster.on_each("find / -xdev -name 'super-admin*'", (*cluster.control_plane, *cluster.balancers))
    assert set(found.values()) == {""}


def test_nodes_keep_to_the_cis_points(cluster: Cluster, namespace: str) -> None:
    kept = "stat -c '%a %U:%G' /var/lib/etcd; find /etc/kubernetes /var/lib/etcd -name '*.key' ! -perm 600"
    assert set(cluster.on_each(kept).values()) == {"700 etcd:etcd"}
    keys = "find /etc/kubernetes -name '*.key' | wc -l; find /etc/kubernetes -name '*.*conf*' ! -perm 600 | wc -l"
    assert {tuple(told.split()) for told in cluster.on_each(keys).values()} == {("13", "0")}
    for unit, wanted in {
        "kube-apiserver": {"--profiling=false", "--authorization-mode=Node,RBAC", "--tls-min-version=VersionTLS12"},
        "kube-controller-manager": {"--profiling=false", "--bind-address=127.0.0.1"},
        "kube-scheduler": {"--profiling=false", "--bind-address=127.0.0.1"},
        "etcd": {"--client-cert-auth=true", "--peer-client-cert-auth=true"},
    }.items():
        line = f"tr '\\0' '\\n' < /proc/$(systemctl show -p MainPID --value {unit})/cmdline"
        for node, words in cluster.on_each(line).items():
            assert wanted <= set(words.split()), (node, unit)
    assert set(cluster.on_each("ps -o user= -C etcd").values()) == {"etcd"}


def test_the_audit_log_tells_who_made_a_secret_and_not_what_is_in_it(cluster: Cluster, namespace: str) -> None:
    encoded = base64.b64encode(PLAIN.encode()).decode()
    created = f'"verb":"create".*"resource":"secrets","namespace":"{namespace}","name":"quiet"'
    line = "grep -c '{}' /var/log/kubernetes/audit.log || true"
    told = cluster.on_each(f"{line.format(created)}; {line.format(PLAIN)}; {line.format(encoded)}")
    counts = [tuple(map(int, words.split())) for words in told.values()]
    assert sum(count[0] for count in counts) == 1, "the one server that took the request wrote it down"
    assert [count[1:] for count in counts] == [(0, 0)] * 3
    assert set(cluster.on_each("stat -c %a /var/log/kubernetes/audit.log").values()) == {"600"}


def test_kubeadm_reads_the_pki(cluster: Cluster) -> None:
    line = "/opt/cpkit/kubeadm/current/kubeadm certs check-expiration --cert-dir /etc/kubernetes/pki 2>&1"
    for node, told in cluster.on_each(line).items():
        rows = {row.split()[0]: row for row in told.splitlines() if row}
        for name in (
            *(
                "admin.conf",
                "apiserver",
                "apiserver-etcd-client",
                "apiserver-kubelet-client",
                "etcd-healthcheck-client",
            ),
            *("etcd-peer", "etcd-server", "front-proxy-client", "ca", "etcd-ca", "front-proxy-ca"),
        ):
            assert name in rows, (node, told)
            assert re.search(r"\d\d:\d\d UTC +\d+[dy] ", rows[name]), (node, rows[name])


def changed(output: str) -> int:
    found = re.search(r"is healthy: (\d+) changes?,", output)
    assert found, output
    return int(found[1])


def test_a_second_run_changes_nothing_and_restarts_nothing(cluster: Cluster) -> None:
    starts = cluster.unit_starts()
    again = run_cpkit("bootstrap", "-i", cluster.lab.name, "--yes", "--kubeconfig", str(cluster.kubeconfig))
    assert again.returncode == 0, again.stderr
    assert changed(again.stdout) == 0
    assert "0 of " in again.stdout, "no request through the endpoint failed meanwhile"
    assert cluster.unit_starts() == starts


def test_a_second_run_brings_up_what_is_down_and_what_would_not_come_up_after_a_boot(cluster: Cluster) -> None:
    cluster.lab.on("cp1", "systemctl stop kube-scheduler")
    cluster.lab.on("cp2", "systemctl disable kube-controller-manager")
    again = run_cpkit("bootstrap", "-i", cluster.lab.name, "--yes", "--kubeconfig", str(cluster.kubeconfig))
    assert again.returncode == 0, again.stderr
    assert changed(again.stdout) == 2
    assert cluster.lab.on("cp1", "systemctl is-active kube-scheduler") == "active"
    assert cluster.lab.on("cp2", "systemctl is-enabled kube-controller-manager") == "enabled"


@pytest.mark.parametrize(
    ("spoil", "mend", "why"),
    [
        (
            "cp -p {unit} /run/kept && sed -i s/--profiling=false/--profiling=true/ {unit}",
            "mv /run/kept {unit}; systemctl daemon-reload",
            "these would change: /etc/systemd/system/kube-scheduler.service",
        ),
        (
            "mkdir -p /run/cpkit && touch /run/cpkit/kube-scheduler.service.pending",
            "rm /run/cpkit/kube-scheduler.service.pending",
            "what kube-scheduler.service was started with",
        ),
    ],
    ids=["its file", "its restart is owed"],
)
def test_a_running_unit_that_is_not_as_it_should_be_is_not_overlooked(
    cluster: Cluster, spoil: str, mend: str, why: str
) -> None:
    unit = "/etc/systemd/system/kube-scheduler.service"
    starts = cluster.unit_starts()
    cluster.lab.on("cp3", spoil.format(unit=unit))
    try:
        again = run_cpkit("bootstrap", "-i", cluster.lab.name, "--yes", "--kubeconfig", str(cluster.kubeconfig))
    finally:
        cluster.lab.on("cp3", mend.format(unit=unit))
    assert again.returncode != 0
    assert "kube-scheduler.service is running and" in again.stderr
    assert why in again.stderr
    assert cluster.unit_starts() == starts
    assert run_cpkit("unlock", "-i", cluster.lab.name, "--yes").returncode == 0


def backwards(body: Mapping[str, Any]) -> dict[str, Any]:
    return dict(reversed(list(body.items())))


def test_the_order_of_the_inventory_means_nothing(cluster: Cluster, tmp_path: Path) -> None:
    starts = cluster.unit_starts()
    inventory = tmp_path / cluster.lab.name
    shutil.copytree(cluster.lab.inventory, inventory)
    hosts = YAML().load(inventory / "hosts.yml")
    groups = hosts["all"]["children"]
    for group in groups.values():
        group["hosts"] = backwards(group["hosts"])
    hosts["all"]["children"] = backwards(groups)
    YAML().dump(hosts, inventory / "hosts.yml")
    done = run_cpkit("bootstrap", "-i", str(inventory), "--yes", "--kubeconfig", str(cluster.kubeconfig))
    assert done.returncode == 0, done.stderr
    assert changed(done.stdout) == 0
    assert cluster.unit_starts() == starts


def test_the_printed_ansible_line_works_as_it_is(cluster: Cluster, tmp_path: Path) -> None:
    line = re.search(r"^The same without cpkit: (.*)$", cluster.output, re.MULTILINE)
    assert line
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", line[1]],
        cwd=tmp_path,
        env=os.environ | {"PATH": programs},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    sums = re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", done.stdout, re.MULTILINE)
    assert sorted(sums) == [(name, "0", "0", "0") for name in (*cluster.control_plane, *cluster.balancers)]


def test_a_run_leaves_a_journal_and_a_report(cluster: Cluster) -> None:
    found = re.search(r"^Run directory: (.*)$", cluster.output, re.MULTILINE)
    assert found
    run = Path(found[1])
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    journal = [json.loads(line) for line in (run / "run.jsonl").read_text().splitlines()]
    assert journal[0]["event"] == "begun"
    assert [line["step"] for line in journal if line["event"] == "done"][-1] == "Write the kubeconfig"
    assert "PLAY RECAP" in (run / "ansible.log").read_text()
    report = json.loads((run / "report.json").read_text())
    assert report["changed"] > 0
    assert set(report["hosts"]) == {*cluster.control_plane, *cluster.balancers}
    assert not [sums for sums in report["hosts"].values() if sums.get("failed") or sums.get("unreachable")]
    assert [step["outcome"] for step in report["steps"]] == ["done"] * len(report["steps"])


def test_no_secret_of_the_cluster_is_on_the_operators_disk(cluster: Cluster) -> None:
    keys = "find /etc/kubernetes/pki -name '*.key' -exec sed -s -n 2p {} +"
    shown = f"{keys}; sed -n 's/^ *secret: *//p' /etc/kubernetes/encryption.yaml"
    needles = {word.encode() for told in cluster.on_each(shown).values() for word in told.split()}
    assert len(needles) > 10
    kept = cluster.lab.kept
    folders = (kept, state_dir() / "labs" / cluster.lab.name, Path.home() / ".ansible", cluster.lab.inventory)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "ansible.log" for path in files)
    for path in files:
        content = path.read_bytes()
        assert not [needle for needle in needles if needle in content], path
        assert b"PRIVATE KEY" not in content or kept not in path.parents, path


def test_a_namespace_goes_away_with_all_it_holds(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    await_that(lambda: not cluster.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "name"), 60)
    leftovers = f"{ETCDCTL} get --prefix --keys-only /registry/ | grep -c /{namespace}/ || true"
    assert set(cluster.on_each(leftovers).values()) == {"0"}
