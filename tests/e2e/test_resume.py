"""A bootstrap that is cut off, at whatever moment and in whatever way, is taken up again by the same command."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cpkit.errors import Exit
from cpkit.facts.collect import collect
from cpkit.inventory import Cluster, load
from cpkit.journal import ORPHANS
from cpkit.lab.engine import find_engine
from cpkit.paths import ansible_root
from cpkit.ssh import connect, fan_out
from tests.e2e.raised import LabFactory, RaisedLab, run_cpkit
from tests.e2e.running import Cluster as BootedCluster
from tests.e2e.running import bootstrap

SEED = int(os.environ.get("CPKIT_SEED", time.time_ns() % 100_000))
LONGEST = 180.0  # seconds a run may take on a machine that does other work too
CA = "/etc/kubernetes/pki/ca.crt"
COMPONENTS = "Lay down and start kube-apiserver, kube-controller-manager and kube-scheduler"
Event = dict[str, Any]


def cluster_of(lab: RaisedLab) -> Cluster:
    return load(lab.inventory)


def ask(lab: RaisedLab, line: str, *, everywhere: bool = False) -> dict[str, str]:
    """What a shell line prints on each node, run as root on all at once."""

    def work(node: Any) -> str:
        with connect(node) as connection:
            return connection.run(["sh", "-c", line], sudo=True, timeout=15).stdout.decode().strip()

    cluster = cluster_of(lab)
    found = fan_out(cluster.nodes if everywhere else cluster.control_plane, work, deadline=20)
    assert not [told for told in found.values() if not isinstance(told, str)], found
    return {name: str(told) for name, told in found.items()}


def authorities(lab: RaisedLab) -> set[str]:
    """The cluster CAs found on the nodes; at most one, if all is well."""
    found = ask(lab, f"cat {CA} 2>/dev/null || true").values()
    return {hashlib.sha256(pem.encode()).hexdigest()[:12] for pem in found if pem}


def cluster_ids(lab: RaisedLab) -> set[str]:
    """The ids of the etcd clusters that the nodes' logs belong to; etcd writes them down as it starts."""
    words = 'journalctl -u etcd -o cat 2>/dev/null | grep -o "\\"cluster-id\\":\\"[0-9a-f]*\\"" | sort -u'
    return {word for told in ask(lab, words).values() for word in told.split()}


def newest_run(lab: RaisedLab) -> Path | None:
    runs = lab.runs("bootstrap")
    return runs[-1] if runs else None


def events(run: Path | None) -> list[Event]:
    """The journal so far; a last line that is not whole yet is left out."""
    journal = run / "run.jsonl" if run else None
    if not journal or not journal.exists():
        return []
    return [json.loads(line) for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")]


class Running:
    """A `cpkit bootstrap` under way, in a process group of its own as in a terminal."""

    def __init__(self, lab: RaisedLab, *words: str) -> None:
        self.lab = lab
        self._before = newest_run(lab)
        command = [sys.executable, "-m", "cpkit", "bootstrap", "-i", str(lab.inventory), "--yes", *words]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
        )
        self.text = ""

    @property
    def events(self) -> list[Event]:
        run = newest_run(self.lab)
        return events(run) if run != self._before else []

    def wait_for(self, reached: Callable[[list[Event]], bool]) -> None:
        """Wait until the journal has come so far, or the run is over."""
        deadline = time.monotonic() + LONGEST
        while not reached(self.events):
            if self.process.poll() is not None:
                return
            assert time.monotonic() < deadline, self.events[-1:]
            time.sleep(0.005)

    def wait_for_task(self, name: str) -> None:
        self.wait_for(lambda found: any(event["event"] == "task" and event["name"] == name for event in found))
        assert self.process.poll() is None, f"{name} was never reached: {self.end()}\n{self.text}"

    def end(self) -> int:
        """The exit code; what was printed is in `text`."""
        out, err = self.process.communicate(timeout=LONGEST)
        self.text = out + err
        return self.process.returncode


@contextmanager
def bootstrapping(lab: RaisedLab, *words: str) -> Iterator[Running]:
    """A run that a failing test does not leave behind."""
    running = Running(lab, *words)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


def playing(lab: RaisedLab) -> list[str]:
    """The Ansible processes that work on a lab."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "ansible-playbook" in line and f"/labs/{lab.name}/" in line:
            found.append(line)
    return found


def ends_playing(lab: RaisedLab) -> bool:
    """Whether nothing of Ansible is left in time; one look may miss a worker that is just being forked."""
    deadline, quiet = time.monotonic() + ORPHANS, 0
    while quiet < 2 and time.monotonic() < deadline:
        quiet = 0 if playing(lab) else quiet + 1
        time.sleep(0.05)
    return quiet == 2


def finish(lab: RaisedLab) -> str:
    """Run to the end, and demand a whole cluster with one CA, and that nothing is left to do."""
    before, identity = authorities(lab), cluster_ids(lab)
    done = run_cpkit("bootstrap", "-i", str(lab.inventory), "--yes", timeout=LONGEST)
    assert done.returncode == 0, done.stderr
    after = authorities(lab)
    assert len(after) == 1
    assert before <= after, "a second CA was made"
    assert len(set(ask(lab, f"sha256sum < {CA}").values())) == 1, "a node has no CA, or another one"
    now = cluster_ids(lab)
    assert len(now) == 1
    assert identity <= now, "etcd was initialised again"
    members = collect(cluster_of(lab)).etcd.members
    assert sorted(member.name for member in members if not member.learner) == ["cp1", "cp2", "cp3"]
    assert len(members) == 3
    again = run_cpkit("bootstrap", "-i", str(lab.inventory), "--yes", timeout=LONGEST)
    assert again.returncode == 0, again.stderr
    assert "is healthy: 0 changes" in again.stdout
    return done.stderr


def wipe(lab: RaisedLab) -> None:
    """The same lab with bare machines."""
    for verb in (("down", lab.name), ("up", lab.name, "--nodes", "3", "--balancers", "2")):
        done = run_cpkit("lab", *verb)
        assert done.returncode == 0, done.stderr


def kill_at(lab: RaisedLab, moment: int) -> str:
    """kill -9 right after a run has written so many lines of its journal; says what it was doing."""
    with bootstrapping(lab) as running:
        running.wait_for(lambda found: len(found) >= moment)
        running.process.kill()
        code = running.end()
        last = running.events[-1]
    assert code in {-signal.SIGKILL, 0}, running.text  # a short run may be over before
    assert ends_playing(lab), "Ansible outlived cpkit"
    return f"{moment}: {last.get('task') or last.get('name') or last.get('step') or last['event']}"


@pytest.fixture(scope="module")
def lab(make_lab: LabFactory) -> RaisedLab:
    return make_lab(nodes=3, balancers=2)


def test_killed_at_ten_moments_of_one_bring_up(lab: RaisedLab) -> None:
    chance = random.Random(SEED)  # noqa: S311 - nothing secret
    moments = [chance.randrange(1 + 7 * part, 8 + 7 * part) for part in range(10)]  # of some 75 lines
    print(f"seed {SEED}, moments {moments}")  # noqa: T201 - shown when the test fails
    seen: set[str] = set()
    for moment in moments:
        print("killed at", kill_at(lab, moment))  # noqa: T201
        seen |= authorities(lab)
        assert len(seen) <= 1, "a second CA was made"
    finish(lab)
    assert seen <= authorities(lab)


def ssh_cut(lab: RaisedLab, node: str) -> None:
    """Let no packet of SSH into a node any more, and end what is connected; done from outside, as SSH is what ends."""
    rules = (
        "add table inet cut; add chain inet cut in { type filter hook input priority 0; }; "
        "add rule inet cut in tcp dport 22 reject with tcp reset"
    )
    find_engine().client.execute(f"cpkit-{lab.name}-{node}", ["nft", rules])


def ssh_mended(lab: RaisedLab, node: str) -> None:
    find_engine().client.execute(f"cpkit-{lab.name}-{node}", ["nft", "delete table inet cut"])


def test_cut_off_in_every_way_there_is(lab: RaisedLab, tmp_path: Path) -> None:
    wipe(lab)
    delay = random.Random(SEED).uniform(0, 1.5)  # noqa: S311 - nothing secret
    print(f"seed {SEED}, delay {delay:.2f}")  # noqa: T201 - shown when the test fails

    with bootstrapping(lab) as running:
        running.wait_for_task("Lay down the authorities, leaves and kubeconfigs")
        time.sleep(delay)
        running.process.kill()
        running.end()
    assert ends_playing(lab)
    first = authorities(lab)
    assert len(first) <= 1

    with bootstrapping(lab) as running:
        running.wait_for_task("Lay down and start etcd")
        os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does
        assert running.end() == Exit.INTERRUPTED
    assert "Error: interrupted" in running.text
    assert "Run the same command again" in running.text
    assert "cpkit unlock" in running.text
    assert "Traceback" not in running.text
    assert ends_playing(lab)

    with bootstrapping(lab) as running:
        running.wait_for_task(COMPONENTS)
        done = run_cpkit("lab", "stop", "--power", f"{lab.name}/cp2")
        assert done.returncode == 0, done.stderr
        assert running.end() in {Exit.FAILED, Exit.UNKNOWN}, running.text
    assert "cp2" in running.text
    lab.do("start", "cp2")

    with bootstrapping(lab) as running:
        running.wait_for_task("Lay down the authorities, leaves and kubeconfigs")  # cp3 holds its lock still
        ssh_cut(lab, "cp3")
        code = running.end()
    assert code == Exit.UNKNOWN, running.text
    assert "Error: cp3: " in running.text
    assert "Run the same command again" in running.text or "run the same command again" in running.text
    assert ends_playing(lab)
    ssh_mended(lab, "cp3")

    with bootstrapping(lab) as running:
        running.wait_for_task("Bind the administrators' group to cluster-admin")
        running.process.kill()
        running.end()
    assert ends_playing(lab)
    finish(lab)
    assert first <= authorities(lab)


@pytest.fixture
def cluster(lab: RaisedLab, tmp_path: Path) -> BootedCluster:
    """A cluster that is up and healthy."""
    return bootstrap(lab, tmp_path)


@pytest.fixture
def copied(lab: RaisedLab, tmp_path: Path) -> Path:
    """A copy of the lab's inventory, to be changed."""
    return Path(shutil.copytree(lab.inventory, tmp_path / "inventory"))


def refused(inventory: Path, code: int = Exit.REFUSED) -> str:
    """What a bootstrap says that must not go through."""
    done = run_cpkit("bootstrap", "-i", str(inventory), "--yes", timeout=LONGEST)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def plain_ansible(lab: RaisedLab) -> subprocess.CompletedProcess[str]:
    """The roles without cpkit."""
    program = Path(sys.executable).with_name("ansible-playbook")
    playbooks = ansible_root() / "playbooks"
    command = [str(program), "--inventory", str(lab.inventory / "hosts.yml"), str(playbooks / "site.yml")]
    environment = os.environ | {"ANSIBLE_CONFIG": str(playbooks / "ansible.cfg")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False)


@contextmanager
def data_gone(cluster: BootedCluster, *, stopped: str) -> Iterator[None]:
    """A cluster whose cp2 has lost etcd's data, with etcd stopped on some nodes."""
    cluster.on_each("systemctl stop etcd", stopped.split())
    cluster.on_each("mv /var/lib/etcd /var/lib/etcd.kept", ["cp2"])
    try:
        yield
    finally:
        cluster.on_each("rm -rf /var/lib/etcd; mv /var/lib/etcd.kept /var/lib/etcd", ["cp2"])
        cluster.on_each("systemctl start etcd", stopped.split())
        cluster.settle()


def test_a_member_that_lost_its_data_is_not_started_empty(cluster: BootedCluster) -> None:
    with data_gone(cluster, stopped="cp2"):
        before = collect(cluster_of(cluster.lab)).etcd
        told = refused(cluster.lab.inventory)
        assert "cp2: the cluster exists, but etcd's data is gone from this node" in told
        assert "Is its disk mounted?" in told
        after = collect(cluster_of(cluster.lab)).etcd
        assert after.members == before.members
        assert after.revision >= before.revision > 0
        assert cluster.on_each("ls -A /var/lib | grep -x etcd || true", ["cp2"]) == {"cp2": ""}


def test_nor_when_no_other_member_answers_nor_by_plain_ansible(cluster: BootedCluster) -> None:
    with data_gone(cluster, stopped="cp1 cp2 cp3"):
        assert "cp2: the cluster exists, but etcd's data is gone" in refused(cluster.lab.inventory)
        played = plain_ansible(cluster.lab)
        assert played.returncode != 0
        assert "the cluster exists, but etcd's data is gone from this node" in played.stdout
        assert cluster.on_each("ls -A /var/lib | grep -x etcd || true", ["cp2"]) == {"cp2": ""}


@pytest.mark.parametrize(
    ("hosts", "told"),
    [
        ({"cp4": 14, "cp5": 15}, "the cluster exists, and cp4, cp5 are not a member of it"),
        ({"cp2": None, "cp3": None}, "which is none of the inventory's control-plane nodes"),
    ],
    ids=["grown", "shrunk"],
)
def test_an_inventory_of_other_members_is_refused(
    cluster: BootedCluster, copied: Path, hosts: dict[str, int | None], told: str
) -> None:
    path = copied / "hosts.yml"
    body = YAML().load(path.read_text())
    nodes = body["all"]["children"]["control_plane"]["hosts"]
    network = cluster.lab.address("cp1").rpartition(".")[0]
    for name, number in hosts.items():
        nodes.pop(name, None)
        if number:
            nodes[name] = {"ansible_host": f"{network}.{number}"}
    with path.open("w") as stream:
        YAML().dump(body, stream)
    started = cluster.unit_starts()
    assert told in refused(copied)
    assert cluster.unit_starts() == started


def test_a_changed_flag_restarts_nothing(cluster: BootedCluster, copied: Path) -> None:
    with (copied / "group_vars/all.yml").open("a") as variables:
        variables.write("etcd_quota_backend_bytes: 4294967296\n")
    started = cluster.unit_starts()
    told = refused(copied, Exit.FAILED)
    assert "etcd.service is running and these would change: /etc/systemd/system/etcd.service" in told
    assert "cpkit plan, then cpkit reconfigure" in told
    assert cluster.unit_starts() == started
    assert cluster.health().rc == 0


def test_the_second_of_two_runs_names_the_first(cluster: BootedCluster) -> None:
    with bootstrapping(cluster.lab) as first:
        first.wait_for(lambda found: len(found) > 1)
        told = refused(cluster.lab.inventory, Exit.LOCKED)
        assert f"cluster {cluster.lab.name} is locked: " in told
        assert f"runs bootstrap (process {first.process.pid})" in told
        assert first.end() == 0, first.text


def test_somebody_elses_lock_on_a_node_is_respected_and_can_be_taken_away(cluster: BootedCluster) -> None:
    lock = '{"owner": "alice@elsewhere", "since": 1700000000}'
    cluster.on_each(f"mkdir -p /run/cpkit && echo '{lock}' > /run/cpkit/lock.json", ["cp2"])
    told = refused(cluster.lab.inventory, Exit.LOCKED)
    assert "Error: cp2: the cluster is locked by alice@elsewhere since 2023-11-14 22:13:20 UTC" in told
    assert "cpkit unlock" in told
    held = cluster.on_each("cat /run/cpkit/lock.json 2>/dev/null || true")
    assert held == {"cp1": "", "cp2": lock, "cp3": ""}
    assert "alice@elsewhere" in run_cpkit("unlock", "-i", cluster.lab.name, "--yes").stdout
    done = run_cpkit("bootstrap", "-i", cluster.lab.name, "--yes")
    assert (done.returncode, "0 changes" in done.stdout) == (0, True), done.stderr
