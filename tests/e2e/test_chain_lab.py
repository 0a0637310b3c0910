"""All supported minors in one command, under load: nothing fails and nothing is lost."""

import json
from itertools import pairwise
from typing import Any

import pytest

from cpkit import artifacts
from cpkit.versions import version_table
from tests.e2e.load import load
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import Cluster, bootstrap
from tests.e2e.test_upgrade_lab import all_at, uids, versions

pytestmark = pytest.mark.long

MINORS = list(version_table().minors.values())
LONGEST = 1200.0  # seconds the chain may take on a machine that does other work too
EACH, PACE = 1, 0.045  # client of each kind, and seconds between two requests of one: 66 a second at the most
ENOUGH = 50.0  # requests a second that were really made


@pytest.fixture(scope="module")
def cluster(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    for minor in MINORS:
        artifacts.ensure(minor.kubernetes, minor.etcd)
    oldest = MINORS[0].kubernetes.series
    return bootstrap(make_lab(nodes=3, balancers=2, version=oldest), tmp_path_factory.mktemp("kubeconfig"))


def reports(cluster: Cluster) -> list[dict[str, Any]]:
    """What each link of the chain left, oldest first."""
    return [json.loads((run / "report.json").read_text()) for run in cluster.lab.runs("upgrade")]


def test_every_minor_in_one_command_with_no_failed_request(cluster: Cluster) -> None:
    kept, target = uids(cluster), MINORS[-1]
    with load(cluster.kubeconfig, EACH, PACE) as seen:
        words = ("-i", cluster.lab.name, "--to", target.kubernetes.series, "--yes", "--no-backup")
        done = run_cpkit("upgrade", "rolling", *words, timeout=LONGEST)
    assert done.returncode == 0, done.stdout + done.stderr
    links = reports(cluster)
    print(seen, *(f"{link['seconds']:.0f} s to {link['target']['cluster_kubernetes_version']}" for link in links))  # noqa: T201
    assert [(str(a.kubernetes), str(b.kubernetes)) for a, b in pairwise(MINORS)] == [
        (link["versions"]["before"]["cp1"]["kube-apiserver"], link["versions"]["after"]["cp1"]["kube-apiserver"])
        for link in links
    ]
    assert versions(cluster) == all_at(str(target.kubernetes), str(target.etcd))
    assert not seen.errors, seen
    assert not seen.lost()
    assert seen.rate > ENOUGH, seen
    assert not seen.held_up()
    assert all(link["availability"]["failed"] == 0 for link in links)
    assert all(link["raft_terms_passed"] <= 1 for link in links), "one pass alone stops etcd"
    assert kept <= uids(cluster)
    assert cluster.settle().rc == 0
    page = cluster.lab.runs("upgrade")[-1] / "report.html"
    assert page.read_text().startswith("<!doctype html>")
