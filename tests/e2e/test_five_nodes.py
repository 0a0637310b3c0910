"""Five nodes: twice the failures of three."""

import pytest

from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import HEALTHY, NOT_HEALTHY, Cluster, bootstrap

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def cluster(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return bootstrap(make_lab(nodes=5, balancers=2), tmp_path_factory.mktemp("kubeconfig"))


def test_five_nodes_are_healthy_and_two_may_fail(cluster: Cluster) -> None:
    health = cluster.health()
    assert health.rc == HEALTHY, health.troubles("fail", "unknown")
    assert health.summary.startswith("5 voters, 5 healthy: two more may fail")
    assert health.text("lb.backends", "cp5") == "up on lb1 and lb2"


def test_five_nodes_take_writes_when_two_have_no_power(cluster: Cluster) -> None:
    leader = str(cluster.health().report["etcd"]["leader"])
    lost = [leader, next(name for name in cluster.control_plane if name != leader)]
    done = run_cpkit("lab", "stop", "--power", *(f"{cluster.lab.name}/{name}" for name in lost))
    assert done.returncode == 0, done.stderr
    health = cluster.health_when(lambda health: health.summary.startswith("5 voters, 3 healthy: no more may fail"))
    assert health.rc == NOT_HEALTHY
    assert health.report["seconds"] <= 6
    assert all(name in health.summary for name in lost)
    cluster.kubectl("create", "configmap", "written-by-three", "-n", "default", "--from-literal=a=b")
    assert cluster.kubectl("get", "configmap", "written-by-three", "-n", "default", "-o", "jsonpath={.data.a}") == "b"
    done = run_cpkit("lab", "start", *(f"{cluster.lab.name}/{name}" for name in lost))
    assert done.returncode == 0, done.stderr
    assert cluster.settle().summary.startswith("5 voters, 5 healthy: two more may fail")
