"""All CAs and the service-account key of a running cluster replaced: under load, paused, cut off, taken back."""

import hashlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cpkit.errors import Exit
from cpkit.handing import handed
from cpkit.inventory import load as load_inventory
from cpkit.paths import ansible_root
from cpkit.pki import Authorities
from cpkit.pki.authorities import SERVICE_ACCOUNT_PUBLIC, SHARED_FILES
from cpkit.pki.succession import begin
from cpkit.ssh import connect
from tests.e2e.load import Load, load
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import Cluster, await_that, bootstrap

pytestmark = pytest.mark.long

PKI = "/etc/kubernetes/pki"
LONGEST = 560.0  # seconds a rotation may take on a machine that does other work too
UNITS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
ASIDE = "ls -d /var/lib/cpkit/rotation /var/lib/cpkit/previous* /run/cpkit/lock.json 2>/dev/null || true"
EVERYTHING = ("--ca", "all", "--service-account")


@pytest.fixture(scope="module")
def cluster(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return bootstrap(make_lab(nodes=3, balancers=1), tmp_path_factory.mktemp("kubeconfig"))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the kubeconfig of the new CA is written."""
    return tmp_path_factory.mktemp("fresh") / "admin.conf"


@pytest.fixture(scope="module")
def before(cluster: Cluster) -> "Before":
    cluster.settle()
    cluster.kubectl("create", "serviceaccount", "holder")
    token = cluster.kubectl("create", "token", "holder", "--duration=2h")
    return Before(credentials(cluster), shape(cluster), token, stops(cluster))


class Before:
    """The cluster as it was bootstrapped."""

    def __init__(self, serials: dict[tuple[str, str], str], shape: str, token: str, stops: dict[str, list[int]]):
        self.serials, self.shape, self.token, self.stops = serials, shape, token, stops


def listed(cluster: Cluster) -> dict[str, Any]:
    done = run_cpkit("certs", "-i", cluster.lab.name, "-o", "json", "--timeout", "20")
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == Exit.OK, [each for each in document["findings"] if each["level"] != "ok"]
    return document


def credentials(cluster: Cluster) -> dict[tuple[str, str], str]:
    """(node, name) -> fingerprint of every certificate, the first of a bundle, and of the service-account key."""
    found = listed(cluster)["credentials"]
    wanted = [each for each in found if each["kind"] != "memory" and not each["name"].startswith("encryption")]
    return {(each["node"], each["name"]): each["fingerprint"] for each in reversed(wanted)}


def shape(cluster: Cluster) -> str:
    """The digest of what a rotation must leave as it is: files, modes, owners, and what certificates say."""
    files = cluster.on_each(
        "find /etc/kubernetes /var/lib/cpkit /etc/systemd/system -type f -printf '%p %m %u\\n' | sort"
    )
    told = sorted(
        (each["node"], each["name"], each["subject"], each["issuer"], sorted(each["sans"]), each["path"])
        for each in listed(cluster)["credentials"]
        if each["kind"] != "memory"
    )
    return hashlib.sha256(json.dumps([files, told], sort_keys=True).encode()).hexdigest()


def stops(cluster: Cluster) -> dict[str, list[int]]:
    """How often each unit of each node was told to stop, in the order of UNITS."""
    counts = cluster.on_each("; ".join(f"journalctl -u {unit} -o cat | grep -c '^Stopping ' || true" for unit in UNITS))
    return {node: [int(line) for line in told.splitlines()] for node, told in counts.items()}


def rotate(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return run_cpkit("rotate-certs", "-i", cluster.lab.name, "--yes", *words, timeout=LONGEST)


def newest(cluster: Cluster) -> Path:
    """The folder of the last rotation of CAs; the cluster's own before the first."""
    return [cluster.lab.kept, *cluster.lab.runs("rotate-authorities")][-1]


def report(cluster: Cluster) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((newest(cluster) / "report.json").read_text())
    return loaded


def status(cluster: Cluster, node: str, *, token: str = "", pair: Path | None = None) -> int:
    """What a node's API server answers to a token, or to the certificate of a kubeconfig."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # whom the server is, is asked elsewhere
    if pair:
        context.load_cert_chain(pair)
    connection = http.client.HTTPSConnection(cluster.lab.address(node), 6443, timeout=10, context=context)
    connection.request("GET", "/version", headers={"Authorization": f"Bearer {token}"} if token else {})
    return connection.getresponse().status


@contextmanager
def trusting_what_is_published(cluster: Cluster, clients: Load) -> Iterator[None]:
    """Have the clients of a load trust what the cluster's own ConfigMap says, as pods do, as soon as it says it."""
    over = threading.Event()

    def follow() -> None:
        seen = ""
        while not over.wait(1.0):
            path = ("get", "configmap", "kube-root-ca.crt", "-n", "default", "-o", r"jsonpath={.data.ca\.crt}")
            code, bundle, _ = cluster.try_kubectl(*path)
            if code == 0 and bundle != seen:
                clients.context.load_verify_locations(cadata=bundle)
                seen = bundle

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(70)


def test_old_and_new_are_trusted_and_the_new_issue_under_load_with_no_failed_request(
    cluster: Cluster, before: Before, fresh: Path
) -> None:
    with load(cluster.kubeconfig) as seen, trusting_what_is_published(cluster, seen):
        done = rotate(cluster, *EVERYTHING, "--pause-before-distrust", "--kubeconfig", str(fresh))
    print(f"trust and issue {report(cluster)['seconds']:.1f} s; {seen}; {seen.errors[:9]}")  # noqa: T201 - to be read
    assert done.returncode == 0, done.stderr
    assert seen.errors == []
    assert seen.rate >= 50
    assert not seen.held_up()
    assert f"cpkit rotate-certs -i {cluster.lab.name} --ca all --service-account" in done.stdout
    assert "kubernetes-admin from" in done.stdout, "this test's own clients still show what the old CA issued"
    now = credentials(cluster)
    assert all(now[place] != mark for place, mark in before.serials.items()), "all leaves, CAs and keys are new"
    assert report(cluster)["availability"]["failed"] == 0
    for node in cluster.control_plane:
        assert status(cluster, node, token=before.token) == 200
        assert status(cluster, node, pair=cluster.kubeconfig.with_suffix(".pem")) == 200
    assert cluster.try_kubectl("get", "--raw=/version", kubeconfig=fresh)[0] == 0
    other = rotate(cluster, "--ca", "etcd")
    assert (other.returncode, "--ca all --service-account" in other.stderr) == (Exit.REFUSED, True)


def test_the_old_are_refused_everywhere_and_no_request_fails(cluster: Cluster, before: Before, fresh: Path) -> None:
    # The kubeconfig from before knows but the old CA, and what is served is the new one's.
    code, during, error = cluster.try_kubectl("create", "token", "holder", "--duration=2h", kubeconfig=fresh)
    assert code == 0, error
    with load(fresh) as seen:
        done = rotate(cluster, *EVERYTHING)
    print(f"distrust {report(cluster)['seconds']:.1f} s; {seen}; {seen.errors[:9]}")  # noqa: T201 - to be read
    assert done.returncode == 0, done.stderr
    assert seen.errors == []
    assert not seen.held_up()
    assert report(cluster)["availability"]["failed"] == 0
    for node in cluster.control_plane:
        assert status(cluster, node, token=before.token) == 401
        assert status(cluster, node, token=during) == 200
        assert status(cluster, node, pair=cluster.kubeconfig.with_suffix(".pem")) == 401
        assert status(cluster, node, pair=fresh.with_suffix(".pem")) == 200
    cluster.kubeconfig.write_text(fresh.read_text())
    cluster.settle()
    assert shape(cluster) == before.shape
    assert set(cluster.on_each(ASIDE).values()) == {""}
    for node, counts in stops(cluster).items():
        asked = [now - then for now, then in zip(counts, before.stops[node], strict=True)]
        assert all(number <= 3 for number in asked), f"{node}: {dict(zip(UNITS, asked, strict=True))}"
    again = run_cpkit("bootstrap", "-i", cluster.lab.name, "--yes", "--kubeconfig", str(fresh))
    assert (again.returncode, " 0 changes" in again.stdout) == (0, True), again.stdout + again.stderr


# A run that is cut off.


def killed(cluster: Cluster, reached: Callable[[list[dict[str, Any]]], bool], *words: str) -> Path:
    """Begin the rotation and kill it with SIGKILL once its journal says something; the folder of that run."""
    runs = newest(cluster)

    def events() -> list[dict[str, Any]]:
        path = newest(cluster)
        if path == runs or not (path / "run.jsonl").exists():
            return []
        lines = (path / "run.jsonl").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    command = [sys.executable, "-m", "cpkit", "rotate-certs", "-i", cluster.lab.name, *words, "--yes"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        await_that(lambda: reached(events()) or process.poll() is not None, LONGEST)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    return newest(cluster)


def in_turn(stage: str, task: str, number: int = 1) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether a task has begun in the turn of this number that this run takes in a stage."""

    def reached(events: list[dict[str, Any]]) -> bool:
        turns = [place for place, each in enumerate(events) if str(each.get("step", "")).startswith(f"{stage} on cp")]
        begun = [place for place in turns if events[place]["event"] == "started"]
        return len(begun) >= number and any(
            each["event"] == "task" and each["name"] == task for each in events[begun[number - 1] :]
        )

    return reached


def in_step(step: str) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether a step of a run has begun."""
    return lambda events: any((each["event"], each.get("step")) == ("started", step) for each in events)


def in_task(task: str) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether a task has begun anywhere in a run."""
    return lambda events: any((each["event"], each.get("name")) == ("task", task) for each in events)


LAY_DOWN, RESTART = (
    "Lay down the authorities, what they issue and what trusts them",
    "Restart what reads them only at its start",
)
WAIT, LET_GO = "Wait until the node is back", "Let go of what was replaced"
PASSES = ("Trust old and new", "Issue with the new", "Trust the new alone")


def finished_as_unbroken(
    cluster: Cluster, before: Before, words: tuple[str, ...], changes: set[str], then: Any, runs: list[Path]
) -> None:
    """The same command ends a rotation that was killed in these runs, and nothing tells it from an unbroken one."""
    done = rotate(cluster, *words)
    assert done.returncode == 0, done.stderr
    assert "this finishes a rotation that an earlier run began" in done.stderr
    made = {json.dumps(new) for run in runs for new in targets(run)}
    assert made == {json.dumps(report(cluster)["authorities"])}, "made only once"
    now = credentials(cluster)
    assert {name for (node, name), mark in now.items() if mark != then[node, name]} == changes
    assert shape(cluster) == before.shape
    assert set(cluster.on_each(ASIDE).values()) == {""}
    cluster.settle()


def targets(run: Path) -> list[dict[str, str]]:
    """What a run set out to replace."""
    events = [json.loads(line) for line in (run / "run.jsonl").read_text().splitlines()]
    return [each["new"] for each in events if each["event"] == "target" and "new" in each]


def test_killed_in_each_pass_the_same_command_ends_as_an_unbroken_run(cluster: Cluster, before: Before) -> None:
    cluster.settle()
    words, then = ("--ca", "front-proxy"), credentials(cluster)
    moments = zip(PASSES, (WAIT, LAY_DOWN, LET_GO), strict=True)
    runs = [killed(cluster, in_turn(stage, task, 2), *words) for stage, task in moments]
    finished_as_unbroken(cluster, before, words, {"front-proxy-ca", "front-proxy-client"}, then, runs)


def test_killed_at_every_step_the_same_command_ends_as_an_unbroken_run(cluster: Cluster, before: Before) -> None:
    cluster.settle()
    words, then = ("--ca", "front-proxy", "--service-account"), credentials(cluster)
    # That may be before anything lies on a node, and then the next run begins anew.
    killed(cluster, in_turn(PASSES[0], LAY_DOWN), *words)
    runs = [
        killed(cluster, reached, *words)
        for stage in PASSES
        for reached in (
            *(in_turn(stage, task) for task in (LAY_DOWN, RESTART, WAIT, LET_GO)[stage == PASSES[0] :]),
            in_step(f"{stage}: prove it on every edge"),
        )
    ]
    runs.append(killed(cluster, in_step("Let go of the old authorities"), *words))
    finished_as_unbroken(cluster, before, words, {"front-proxy-ca", "front-proxy-client", "sa.key"}, then, runs)


def test_a_node_that_does_not_come_back_gets_its_files_back_and_the_run_stops(cluster: Cluster) -> None:
    described = load_inventory(cluster.lab.inventory)
    with connect(described.control_plane[0]) as connection:
        paths = [*SHARED_FILES, SERVICE_ACCOUNT_PUBLIC]
        held = {path: connection.read(path, sudo=True, timeout=10).decode() for path in paths}
    succession = begin(Authorities.from_files(held), ("front_proxy",), key_type="ecdsa-p256", ca_days=3650)
    files = f"cd {PKI} && sha256sum *.crt *.key etcd/*.crt etcd/*.key sa.pub ../admin.conf"
    then = cluster.on_each(files)
    words = ["ansible-playbook", "-i", str(described.inventory)]
    words += [str(ansible_root() / "playbooks/rotate_authorities.yml")]
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(ansible_root() / "playbooks/ansible.cfg"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    cluster.lab.on("cp1", "systemctl kill -s STOP kube-scheduler")
    try:
        with handed(succession.files("issue")) as descriptor:
            variables = {"authorities_descriptor": descriptor, "authorities_stage": "issue", "authorities_wait": 3}
            done = subprocess.run(
                [*words, "--extra-vars", json.dumps({**variables, "gate_asked": True})],
                env=environment, pass_fds=(descriptor,), capture_output=True, text=True, timeout=LONGEST, check=False,
            )  # fmt: skip
    finally:
        cluster.lab.on("cp1", "systemctl kill -s CONT kube-scheduler")
    assert done.returncode != 0
    assert cluster.on_each(files) == then, "cp1 has its files back, and cp2 and cp3 were not touched"
    cluster.on_each("rm -rf /var/lib/cpkit/rotation")
    assert run_cpkit("unlock", "-i", cluster.lab.name, "--yes").returncode == 0
    cluster.settle()
