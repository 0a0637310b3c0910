"""What fails is bounded, what health says is true, and what comes back heals by itself."""

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPSConnection

import pytest

from cpkit.inventory import load as load_inventory
from cpkit.operations.holding import holding
from tests.e2e.load import load
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import NOT_HEALTHY, UNKNOWN, Cluster, Traffic, await_that, bootstrap, traffic

LONGEST_GAP = 4.0  # seconds in which no client got an answer through the endpoint
# Requests, one every 0.1 s, each on a connection of its own. A client that meets a silent server waits for its patience
# to end: for up to 3 s behind the balancer, and for up to 10 s where an API server asks a silent member of etcd.
MOST_FAILED = 15
PATIENCE = 2.0  # seconds a request may take
STREAMS = 7.0  # seconds for which etcd, told to end, waits for its clients' streams
CONFIGMAPS = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


@pytest.fixture(scope="module")
def running(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return bootstrap(make_lab(nodes=3, balancers=2), tmp_path_factory.mktemp("kubeconfig"))


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    """The cluster, healthy before a test and healthy again after it."""
    running.settle()
    yield running
    machines = (*running.control_plane, *running.balancers)
    for words in (("start", *(f"{running.lab.name}/{name}" for name in machines)), ("heal", running.lab.name)):
        done = run_cpkit("lab", *words)
        assert done.returncode == 0, done.stderr
    running.settle()


@pytest.fixture(scope="module")
def read(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """An administrator's read through the endpoint, that a quorum of etcd has to answer."""
    config = json.loads(running.kubectl("config", "view", "--raw", "-o", "json"))
    user, server = config["users"][0]["user"], config["clusters"][0]["cluster"]
    identity = tmp_path_factory.mktemp("identity") / "admin.pem"
    identity.touch(mode=0o600)
    parts = (user["client-certificate-data"], user["client-key-data"])
    identity.write_bytes(b"".join(base64.b64decode(part) for part in parts))
    context = ssl.create_default_context(cadata=base64.b64decode(server["certificate-authority-data"]).decode())
    context.load_cert_chain(identity)

    def ask() -> str:
        connection = HTTPSConnection(running.endpoint, 6443, timeout=PATIENCE, context=context)
        try:
            connection.request("GET", CONFIGMAPS)
            status = connection.getresponse().status
        except (OSError, HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        return "" if status == 200 else f"HTTP {status}"

    return ask


def power_off(cluster: Cluster, *names: str) -> None:
    done = run_cpkit("lab", "stop", "--power", *(f"{cluster.lab.name}/{name}" for name in names))
    assert done.returncode == 0, done.stderr


def kill(cluster: Cluster, unit: str, name: str) -> None:
    """kill -9 of every process of a unit."""
    cluster.on_each(f"systemctl kill --signal=KILL {unit}", [name])


def restarts(cluster: Cluster, unit: str, name: str) -> int:
    return int(cluster.on_each(f"systemctl show --property NRestarts --value {unit}", [name])[name])


def assert_bounded(seen: Traffic) -> None:
    assert seen.failed <= MOST_FAILED, seen
    assert seen.longest_gap <= LONGEST_GAP, seen


def test_the_api_stays_up_when_etcds_leader_loses_its_power(cluster: Cluster, read: Callable[[], str]) -> None:
    leader = str(cluster.health().report["etcd"]["leader"])
    with traffic(read) as seen:
        power_off(cluster, leader)
        # Where it is seen without asking the node: both balancers find its API server down. The others elect a leader.
        health = cluster.health_when(
            lambda health: (
                ("lb.backends", leader) in health.troubles("fail")
                and {node for _, node in health.troubles("fail", "unknown")} <= {leader, ""}
                and health.summary.startswith("3 voters, 2 healthy: no more may fail")
            )
        )
        cluster.kubectl("create", "configmap", "written-without-one-node", "-n", "default")
    assert_bounded(seen)
    assert health.rc == NOT_HEALTHY
    assert health.report["seconds"] <= 6, "and it does not wait for what does not answer"
    assert ("node.reachable", leader) in health.troubles("fail", "unknown")
    assert leader in health.summary
    assert health.report["etcd"]["quorum"] is True


def test_without_quorum_health_says_so_in_time_and_the_cluster_comes_back(cluster: Cluster) -> None:
    cluster.kubectl("create", "configmap", "kept", "-n", "default", "--from-literal=a=b")
    power_off(cluster, "cp1", "cp3")
    health = cluster.health()
    assert health.report["seconds"] <= 6, "nothing silent is waited for longer"
    assert health.rc == NOT_HEALTHY
    assert health.summary.startswith("no quorum: 3 voters, ")
    assert health.report["etcd"]["quorum"] is False
    assert {("node.reachable", "cp1"), ("node.reachable", "cp3")} <= health.troubles("fail", "unknown")
    assert ("etcd.quorum", "") in health.troubles("fail")
    done = run_cpkit("lab", "start", f"{cluster.lab.name}/cp1", f"{cluster.lab.name}/cp3")
    assert done.returncode == 0, done.stderr
    assert cluster.settle().summary.startswith("3 voters, 3 healthy: one more may fail")
    assert cluster.kubectl("get", "configmap", "kept", "-n", "default", "-o", "jsonpath={.data.a}") == "b"


def test_the_vip_moves_when_its_balancer_loses_its_power(cluster: Cluster, read: Callable[[], str]) -> None:
    holder = cluster.vip_holder()
    (other,) = set(cluster.balancers) - {holder}
    assert holder in cluster.balancers, "exactly one holds it"

    def moved() -> bool:
        return bool(cluster.on_each(f"ip -o address show to {cluster.endpoint}", [other])[other])

    with traffic(read) as seen:
        power_off(cluster, holder)
        await_that(moved, 10)
        health = cluster.health()
    assert_bounded(seen)
    assert health.rc in {NOT_HEALTHY, UNKNOWN}, "a silent balancer alone is unknown"
    assert ("node.reachable", holder) in health.troubles("fail", "unknown")
    run_cpkit("lab", "start", f"{cluster.lab.name}/{holder}")
    cluster.settle()
    assert cluster.vip_holder() == other, "it does not move back: nothing is wrong with where it is"


@pytest.mark.parametrize("unit", ["haproxy", "keepalived"])
def test_a_killed_service_of_the_vips_holder_recovers(cluster: Cluster, read: Callable[[], str], unit: str) -> None:
    holder = cluster.vip_holder()
    before = restarts(cluster, unit, holder)
    with traffic(read) as seen:
        kill(cluster, unit, holder)
        await_that(lambda: restarts(cluster, unit, holder) == before + 1, 10)
        cluster.settle()
    assert_bounded(seen)
    assert cluster.vip_holder() in cluster.balancers, "exactly one holds the VIP"


@pytest.mark.parametrize("unit", ["kube-apiserver", "etcd"])
def test_a_killed_service_of_a_node_recovers(cluster: Cluster, read: Callable[[], str], unit: str) -> None:
    before = restarts(cluster, unit, "cp2")
    with traffic(read) as seen:
        kill(cluster, unit, "cp2")
        await_that(lambda: restarts(cluster, unit, "cp2") == before + 1, 10)
        cluster.settle()
    assert_bounded(seen)


def test_a_node_that_is_cut_off_is_named_though_it_answers(cluster: Cluster, read: Callable[[], str]) -> None:
    with traffic(read) as seen:
        done = run_cpkit("lab", "partition", f"{cluster.lab.name}/cp3")
        assert done.returncode == 0, done.stderr
        # If it led, the others elect a leader first.
        health = cluster.health_when(
            lambda health: (
                {("etcd.members", "cp3"), ("node.peers", "cp3")} <= health.troubles("fail")
                and health.report["etcd"]["quorum"] is True
            )
        )
    assert_bounded(seen)
    assert health.rc == NOT_HEALTHY
    assert ("node.reachable", "cp3") not in health.troubles("fail", "unknown"), "it takes SSH"
    assert "cp3" in health.summary


def test_health_reports_etcd_while_no_api_server_runs(cluster: Cluster) -> None:
    cluster.on_each("systemctl stop kube-apiserver", timeout=60)
    try:
        health = cluster.health()
    finally:
        cluster.on_each("systemctl start --no-block kube-apiserver")
    assert health.rc == NOT_HEALTHY
    down = {("api.ready", name) for name in cluster.control_plane} | {("api.endpoint", "")}
    assert down <= health.troubles("fail")
    assert health.summary.startswith("3 voters, 3 healthy: one more may fail")
    assert not {check for check, _ in health.troubles("fail", "unknown") if check.startswith("etcd.")}


def test_leadership_is_handed_over_with_no_failed_write(cluster: Cluster) -> None:
    first = str(cluster.health().report["etcd"]["leader"])
    others = [name for name in cluster.control_plane if name != first]
    with load(cluster.kubeconfig) as seen:
        for to in (*others, first, *others):
            done = run_cpkit("etcd", "move-leader", "-i", cluster.lab.name, "--to", to)
            assert done.returncode == 0, done.stderr
            assert to in done.stdout
    print(seen)  # noqa: T201 - a measurement to be read
    assert seen.errors == []
    assert seen.lost() == {}
    assert cluster.health().report["etcd"]["leader"] == others[-1]


STATE = "cut -d' ' -f3 /proc/$(systemctl show --property MainPID --value kube-apiserver)/stat"
# The agent and sudo before it, but not the child in a session of its own that waits for their end.
AGENTS = "for each in $(pgrep -f '[H]olds the main process'); do [ $(ps -o sid= -p $each) = $each ] || echo $each; done"


def test_an_api_server_goes_on_when_whoever_holds_it_is_killed(cluster: Cluster) -> None:
    nodes = load_inventory(cluster.lab.inventory).control_plane
    with holding(nodes, longest=60) as held:
        assert held == cluster.control_plane
        assert set(cluster.on_each(STATE).values()) == {"T"}
        killed = cluster.on_each(f"pids=$({AGENTS}); kill -9 $pids; echo $pids", ["cp1"])
        assert killed["cp1"]
        await_that(lambda: cluster.on_each(STATE, ["cp1"])["cp1"] != "T", 10)
        assert set(cluster.on_each(STATE, ["cp2", "cp3"]).values()) == {"T"}
    await_that(lambda: "T" not in cluster.on_each(STATE).values(), 10)


def test_a_member_that_is_told_to_end_waits_for_no_watch_and_fails_no_request(cluster: Cluster) -> None:
    leader = cluster.health().report["etcd"]["leader"]
    follower = next(name for name in cluster.control_plane if name != leader)
    line = (
        "ss --no-header --tcp --numeric state established sport = :2379 | wc -l; "
        "date +%s.%N; systemctl stop etcd; date +%s.%N; systemctl start etcd; "
        "journalctl --unit etcd --grep 'closed etcd'"
    )
    with load(cluster.kubeconfig) as seen:
        clients, began, ended, *closed = cluster.on_each(line, [follower])[follower].splitlines()
    assert int(clients) > 0
    assert float(ended) - float(began) < STREAMS
    assert closed, "it ended in order"
    assert not seen.errors, seen
    assert not seen.lost()
