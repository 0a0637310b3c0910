"""Nodes come and go in a lab, 1 → 3 → 5 → 3, one is replaced by another machine, and no request fails."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cpkit.errors import Exit
from cpkit.facts.collect import collect
from cpkit.inventory import load
from cpkit.journal import read_events
from tests.e2e.load import load as requests
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import HEALTHY, Cluster, await_that, bootstrap, traffic
from tests.e2e.test_upgrade_lab import Writer, uids

pytestmark = pytest.mark.long

OF_CPKIT = "systemctl list-unit-files --no-legend 'cpkit-*' | cut -d' ' -f1"
LONGEST = 900.0  # seconds a change may take on a machine that does other work too


@dataclass(frozen=True)
class Grown:
    """A cluster whose nodes come and go."""

    cluster: Cluster

    @property
    def name(self) -> str:
        return self.cluster.lab.name

    def words(self, verb: str, *more: str) -> list[str]:
        return ["node", verb, "-i", self.name, *more, "--yes"]

    def node(self, verb: str, *more: str) -> subprocess.CompletedProcess[str]:
        return run_cpkit(*self.words(verb, *more), timeout=LONGEST)

    def spare(self, number: int) -> str:
        return self.cluster.lab.address(f"sp{number}")

    def hosts(self) -> str:
        return (self.cluster.lab.inventory / "hosts.yml").read_text()

    def members(self) -> dict[str, bool]:
        """Peer address -> whether it votes."""
        rows = collect(load(self.cluster.lab.inventory), deadline=15).etcd.members
        urls = [url for row in rows for url in row.peer_urls]
        assert len(set(urls)) == len(rows), f"a member was added twice: {rows}"
        assert sum(row.learner for row in rows) <= 1, rows
        return {row.peer_urls[0].split("//")[1].split(":")[0]: not row.learner for row in rows}

    def killed_at(self, verb: str, more: tuple[str, ...], event: str, step: str) -> None:
        """Begin, and kill -9 as soon as the journal has this of a step."""
        before = set(self.runs(verb))
        process = subprocess.Popen(
            [sys.executable, "-m", "cpkit", *self.words(verb, *more)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def there() -> bool:
            assert process.poll() is None, f"it ended before {step}"
            new = set(self.runs(verb)) - before
            return any(each["event"] == event and each.get("step") == step for run in new for each in read_events(run))

        try:
            await_that(there, LONGEST)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def runs(self, verb: str) -> list[Path]:
        return self.cluster.lab.runs(f"node-{verb}")

    def report(self, verb: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.runs(verb)[-1] / "report.json").read_text())
        return found

    @contextmanager
    def without_a_failure(self) -> Iterator[None]:
        """Whatever is done, no request fails, none that was acknowledged is lost, and no object becomes another."""
        kept, writer = uids(self.cluster), Writer(self.cluster)
        with traffic(writer, clients=1) as written, requests(self.cluster.kubeconfig) as seen:
            yield
        assert not seen.errors, seen
        assert written.failed == 0, written
        assert len(writer.acknowledged) == written.answered > 0
        assert not writer.missing()
        assert kept <= uids(self.cluster)

    def check_settled(self, *names: str) -> None:
        """Healthy, exactly these nodes, and a bootstrap has nothing to do."""
        assert self.cluster.control_plane == names
        health = self.cluster.settle()
        assert health.rc == HEALTHY
        assert health.summary.startswith(f"{len(names)} voters, {len(names)} healthy"), health.summary
        assert not [found for found in health.troubles("warn") if found[0] in {"api.flags", "etcd.members"}]
        before = self.cluster.unit_starts()
        done = run_cpkit("bootstrap", "-i", self.name, "--yes", timeout=LONGEST)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "is healthy: 0 changes" in done.stdout
        assert self.cluster.unit_starts() == before


@pytest.fixture(scope="module")
def grown(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Grown:
    cluster = bootstrap(make_lab(nodes=1, balancers=2, spare=4), tmp_path_factory.mktemp("kubeconfig"))
    cluster.settle()
    return Grown(cluster)


def test_one_node_becomes_three_though_the_run_is_killed_again_and_again(grown: Grown) -> None:
    before, more = grown.hosts(), (f"cp2={grown.spare(1)}", f"cp3={grown.spare(2)}")
    with grown.without_a_failure():
        grown.killed_at("add", more, "done", "Announce cp2 to etcd as a learner")
        assert grown.members() == {grown.cluster.lab.address("cp1"): True, grown.spare(1): False}
        grown.killed_at("add", more, "started", "Start etcd on cp3")
        assert grown.members() == dict.fromkeys((grown.cluster.lab.address("cp1"), grown.spare(1)), True) | {
            grown.spare(2): False
        }
        done = grown.node("add", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert grown.report("add")["availability"]["failed"] == 0
    assert grown.cluster.settle().summary.startswith("3 voters, 3 healthy: one more may fail")
    added = [line for line in grown.hosts().splitlines() if line not in before.splitlines()]
    assert added == [f"        cp{n}: {{ansible_host: {grown.spare(n - 1)}}}" for n in (2, 3)]


def test_what_would_lose_quorum_or_meets_something_unfinished_is_refused(grown: Grown) -> None:
    before, hosts = grown.cluster.unit_starts(), grown.hosts()
    variables = grown.cluster.lab.inventory / "group_vars" / "all.yml"
    text = variables.read_text()
    for verb, more, says in (
        ("remove", ("cp2", "cp3"), "2 of 3 voters"),
        ("remove", ("cp2", "cp3", "--allow-degraded"), "2 of 3 voters"),
        ("replace", ("cp2", "--address", grown.spare(3)), "answers, and would come back beside the new one"),
    ):
        done = grown.node(verb, *more)
        assert done.returncode == Exit.REFUSED, done.stdout + done.stderr
        assert says in done.stderr
    variables.write_text(f"{text}cluster_kubernetes_version: 1.35.4\n")
    try:
        done = grown.node("add", f"cp4={grown.spare(3)}")
    finally:
        variables.write_text(text)
    assert done.returncode == Exit.REFUSED, done.stdout + done.stderr
    assert "cpkit upgrade rolling" in done.stderr
    assert (grown.cluster.unit_starts(), grown.hosts()) == (before, hosts)
    assert len(grown.members()) == 3


def test_three_become_five_with_no_failed_request(grown: Grown) -> None:
    with grown.without_a_failure():
        done = grown.node("add", f"cp4={grown.spare(3)}", f"cp5={grown.spare(4)}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "with cp5  5 voters, 5 healthy, quorum 3: two more may fail" in done.stderr
    assert list(grown.members().values()) == [True] * 5
    grown.check_settled("cp1", "cp2", "cp3", "cp4", "cp5")


def test_five_become_three_and_what_they_held_is_moved_aside(grown: Grown) -> None:
    done = run_cpkit("etcd", "move-leader", "--to", "cp5", "-i", grown.name)
    assert done.returncode == 0, done.stdout + done.stderr
    held = grown.cluster.on_each("sha256sum /etc/kubernetes/pki/apiserver.crt | cut -d' ' -f1", ["cp4"])["cp4"]
    with grown.without_a_failure():
        done = grown.node("remove", "cp5", "cp4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert grown.cluster.settle().summary.startswith("3 voters, 3 healthy")
    for machine in ("sp3", "sp4"):
        assert (
            grown.cluster.lab.on(machine, "systemctl is-active etcd kube-apiserver; true").split() == ["inactive"] * 2
        )
        assert grown.cluster.lab.on(machine, "ls -d /etc/kubernetes /etc/cpkit /var/lib/etcd 2>/dev/null; true") == ""
    aside = "/var/lib/cpkit/aside/*"
    assert held in grown.cluster.lab.on("sp3", f"sha256sum {aside}/etc/kubernetes/pki/apiserver.crt")
    assert grown.cluster.lab.on("sp3", f"ls {aside}/var/lib/etcd") == "member"


def test_a_machine_without_power_is_replaced_and_found_should_it_come_back(grown: Grown) -> None:
    new = ("cp2", "--address", grown.spare(3))
    done = run_cpkit("lab", "stop", "--power", f"{grown.name}/sp1")
    assert done.returncode == 0, done.stderr
    with grown.without_a_failure():
        grown.killed_at("replace", new, "done", "Take the cp2 that is gone out of etcd")
        assert len(grown.members()) == 2
        done = grown.node("replace", *new)
    assert done.returncode == 0, done.stdout + done.stderr
    assert grown.members() == dict.fromkeys((grown.cluster.lab.address("cp1"), grown.spare(2), grown.spare(3)), True)
    grown.check_settled("cp1", "cp2", "cp3")
    done = run_cpkit("lab", "start", f"{grown.name}/sp1")
    assert done.returncode == 0, done.stderr
    stranger = f"an API server at {grown.spare(1)} serves this cluster"
    grown.cluster.health_when(lambda health: stranger in health.text("api.strangers"), within=60)
    stop = "systemctl disable --now kube-apiserver kube-controller-manager kube-scheduler etcd"
    grown.cluster.lab.on("sp1", stop)
    grown.cluster.health_when(lambda health: health.rc == HEALTHY, within=60)


def test_a_disk_that_is_gone_is_replaced_on_the_same_machine(grown: Grown) -> None:
    wipe = "systemctl stop etcd; rm -rf /var/lib/etcd; systemctl start --no-block etcd"
    grown.cluster.on_each(wipe, ["cp3"])
    grown.cluster.health_when(lambda health: ("etcd.members", "cp3") in health.troubles("fail", "unknown"))
    done = run_cpkit("bootstrap", "-i", grown.name, "--yes", timeout=LONGEST)
    assert done.returncode == Exit.REFUSED
    assert "cpkit node replace cp3" in done.stderr
    done = grown.node("replace", "cp3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert grown.cluster.settle().summary.startswith("3 voters, 3 healthy")


def test_a_reset_wants_the_name_and_leaves_machines_that_preflight_accepts(grown: Grown) -> None:
    done = run_cpkit("reset", "-i", grown.name, "--confirm", "another", "--no-backup")
    assert done.returncode == Exit.USAGE
    done = run_cpkit("reset", "-i", grown.name, "--confirm", grown.name)
    assert done.returncode == Exit.REFUSED
    assert "no backup" in done.stderr + done.stdout or "without a backup" in done.stderr
    assert grown.cluster.health().rc == HEALTHY
    assert run_cpkit("rotate-certs", "schedule", "-i", grown.name, "--yes").returncode == 0
    assert all("cpkit-renewal.timer" in told for told in grown.cluster.on_each(OF_CPKIT).values())
    done = run_cpkit("reset", "-i", grown.name, "--confirm", grown.name, "--no-backup", timeout=LONGEST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(grown.cluster.on_each(OF_CPKIT).values()) == {""}
    began = time.monotonic()
    done = run_cpkit("preflight", "-i", grown.name, "-o", "json", timeout=LONGEST)
    assert done.returncode == 0, f"{done.stdout}{done.stderr} after {time.monotonic() - began:.0f} s"
