"""Leaves that the nodes renew by themselves: one after the other, in use or taken back, and taken up."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cpkit.facts.collect import collect
from cpkit.facts.member import open_member
from cpkit.inventory import load as load_inventory
from cpkit.operations.leaves import identity
from cpkit.pki import Authorities
from cpkit.pki.authorities import SHARED_FILES
from cpkit.pki.certificates import certificate_to_pem, issue
from cpkit.pki.keys import key_to_pem, new_key
from cpkit.pki.leaves import leaves_of
from cpkit.ssh import connect
from tests.e2e.load import load
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import Cluster, bootstrap

pytestmark = pytest.mark.long

PKI = "/etc/kubernetes/pki"
SHORT = ("apiserver", "etcd/server", "etcd/peer", "scheduler")  # the leaves that end soon here
SETTINGS, STATUS, KEPT = "/etc/cpkit/renewal.json", "/var/lib/cpkit/renewal/status.json", "/var/lib/cpkit/previous"
FILES = f"cd {PKI} && sha256sum *.crt *.key etcd/*.crt etcd/*.key ../admin.conf"
RUN = "systemctl start cpkit-renewal 2>/dev/null || true; systemctl stop cpkit-renewal"
IMPATIENT = f"""sed -i 's/"wait": .*/"wait": 5/' {SETTINGS}"""
KILL = f"until [ -d {KEPT} ]; do sleep 0.05; done; systemctl kill -s KILL cpkit-renewal"
LEFT = (
    "ls -d /opt/cpkit/renewal /etc/cpkit/renewal* /var/lib/cpkit/renewal /var/lib/cpkit/previous /run/cpkit/lock.json "
    "/var/lib/prometheus/node-exporter/cpkit_renewal* /var/lib/systemd/timers/*renewal* 2>/dev/null; "
    "systemctl list-unit-files --no-legend 'cpkit-renewal*' || true"
)
# The scheduler sees what lay there when it was told to, and serves it whatever is laid down.
DROPPED_IN = "/run/systemd/system/kube-scheduler.service.d"
ANSWERS = "until curl -sk https://127.0.0.1:10259/healthz | grep -q ok; do sleep 0.2; done"
APART = (
    f"rm -rf /run/apart && cp -a {PKI} /run/apart && mkdir -p {DROPPED_IN} && "
    f"printf '[Service]\\nBindReadOnlyPaths=/run/apart:{PKI}\\n' > {DROPPED_IN}/apart.conf && "
    f"systemctl daemon-reload && systemctl restart kube-scheduler && {ANSWERS}"
)
BACK = f"rm -rf {DROPPED_IN} /run/apart && systemctl daemon-reload && systemctl restart kube-scheduler && {ANSWERS}"
HISTORY = (
    f"timeout 3 /opt/cpkit/etcd/current/etcdctl --endpoints=https://127.0.0.1:2379 --cacert={PKI}/etcd/ca.crt "
    f"--cert={PKI}/etcd/healthcheck-client.crt --key={PKI}/etcd/healthcheck-client.key "
    "watch --prefix /cpkit/renewal/ --rev={} || true"
)
LONGEST = 240.0  # seconds a node may take on a machine that does other work too


def schedule(cluster: Cluster, *words: str) -> str:
    done = run_cpkit("rotate-certs", "schedule", "-i", cluster.lab.name, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cluster(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return bootstrap(make_lab(nodes=3, balancers=1), tmp_path_factory.mktemp("kubeconfig"))


@pytest.fixture(scope="module")
def scheduled(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with its nodes renewing leaves by themselves; the timers are taken away in the end."""
    assert "Dry run" in schedule(cluster, "--dry-run")
    assert "cp1, cp2, cp3" in schedule(cluster, "--yes")
    assert "Nothing was changed" in schedule(cluster)
    yield cluster
    schedule(cluster, "--remove", "--yes")


def shorten(cluster: Cluster, *names: str) -> None:
    """Give nodes leaves that live a day and have four hours left; what they are for is as it was."""
    described = load_inventory(cluster.lab.inventory)
    facts, then = collect(described, deadline=30).nodes, datetime.now(UTC) - timedelta(hours=20)
    for node in (each for each in described.control_plane if each.name in names):
        with connect(node) as connection:
            held = {path: connection.read(path, sudo=True, timeout=30).decode() for path in SHARED_FILES}
        authorities, lines = Authorities.from_files(held), []
        for leaf in leaves_of(identity(described, facts[node.name])):
            if leaf.name in SHORT:
                key = new_key("ecdsa-p256")
                made = issue(leaf.signer(authorities), leaf.profile, key=key, days=1, now=then)
                for kind, content in (("key", key_to_pem(key)), ("crt", certificate_to_pem(made))):
                    lines.append(f"cat > {PKI}/{leaf.name}.{kind} <<EOF\n{content}EOF")
        cluster.on_each("\n".join(lines), (node.name,))


@contextmanager
def unmoved(cluster: Cluster) -> Iterator[None]:
    """While cp1's scheduler goes on with the leaf it has, so that no new one of the node is proven in use."""
    cluster.on_each(APART, ("cp1",))
    try:
        yield
    finally:
        cluster.on_each(BACK, ("cp1",))


def statuses(cluster: Cluster, *names: str) -> dict[str, dict[str, Any]]:
    return {node: json.loads(text) for node, text in cluster.on_each(f"cat {STATUS}", names).items()}


def serials(cluster: Cluster) -> dict[tuple[str, str], str]:
    told = json.loads(run_cpkit("certs", "-i", cluster.lab.name, "-o", "json", "--timeout", "30").stdout)
    leaves = (each for each in told["credentials"] if each["kind"] in {"leaf", "kubeconfig"})
    return {(each["node"], each["name"]): each["serial"] for each in leaves}


def revision(cluster: Cluster) -> int:
    with open_member(load_inventory(cluster.lab.inventory).control_plane[0], timeout=30) as client:
        return client.probe()


def turns(cluster: Cluster, since: int) -> list[list[str]]:
    """From etcd's history: for each time the lock was held, who took it, and whose renewal was recorded meanwhile."""
    words = cluster.lab.on("cp1", HISTORY.format(since)).split("\n")
    found: list[list[str]] = []
    held = False
    for at, line in enumerate(words):
        if (line, words[at + 1 : at + 2]) == ("PUT", ["/cpkit/renewal/lock"]):
            assert not held, f"two at once: {words}"
            held = True
            found.append([words[at + 2]])
        elif (line, words[at + 1 : at + 2]) == ("PUT", ["/cpkit/renewal/last"]):
            assert held, f"renewed without the lock: {words}"
            found[-1].append(json.loads(words[at + 2])["node"])
        elif (line, words[at + 1 : at + 2]) == ("DELETE", ["/cpkit/renewal/lock"]):
            held = False
    assert not held
    return found


def test_the_timers_are_spread_and_a_look_without_anything_due_changes_nothing(scheduled: Cluster) -> None:
    told = scheduled.on_each("systemctl show -p NextElapseUSecRealtime --value cpkit-renewal.timer")
    assert len(set(told.values())) == 3, told
    before = scheduled.on_each(FILES)
    scheduled.on_each(RUN, timeout=LONGEST)
    assert {each["outcome"] for each in statuses(scheduled).values()} == {"idle"}
    assert scheduled.on_each(FILES) == before


def test_all_at_once_they_renew_one_after_the_other_without_a_failed_request_or_a_restart(scheduled: Cluster) -> None:
    scheduled.settle()
    shorten(scheduled, "cp1", "cp2", "cp3")
    health = scheduled.health_when(lambda seen: ("certs.expiry", "cp2") in seen.troubles("fail"))
    assert "apiserver.crt ends in 0 days" in health.text("certs.expiry", "cp1")
    scheduled.health_when(lambda seen: not seen.troubles("unknown") and not seen.text("certs.served").count("on disk"))
    before, started, since = serials(scheduled), scheduled.unit_starts(), revision(scheduled)
    with load(scheduled.kubeconfig) as seen:
        scheduled.on_each(RUN, timeout=LONGEST)
    print(seen)  # noqa: T201 - a measurement to be read
    assert seen.errors == []
    assert scheduled.unit_starts() == started
    found = statuses(scheduled)
    assert {each["outcome"] for each in found.values()} == {"renewed"}, found
    assert {tuple(sorted(each["renewed"])) for each in found.values()} == {tuple(sorted(SHORT))}
    after = serials(scheduled)
    assert {place for place, serial in after.items() if serial != before[place]} == {
        (node, name) for node in scheduled.control_plane for name in SHORT
    }
    held = turns(scheduled, since)
    assert sorted(held) == [["cp1", "cp1"], ["cp2", "cp2"], ["cp3", "cp3"]], held
    health = scheduled.settle()
    assert "renew their leaves by themselves" in health.text("certs.renewal")
    told = run_cpkit("health", "-i", scheduled.lab.name, "-o", "prometheus", "--timeout", "30").stdout
    written = scheduled.on_each("cat /var/lib/prometheus/node-exporter/cpkit_renewal.prom")
    for node in scheduled.control_plane:
        line = f'cpkit_renewal_last_run_success{{cluster="{scheduled.lab.name}",node="{node}"}} 1'
        assert line in told
        assert line in written[node]


def test_with_a_node_down_the_others_renew(scheduled: Cluster) -> None:
    shorten(scheduled, "cp1", "cp2")
    scheduled.lab.do("stop", "cp3")
    try:
        others = ("cp1", "cp2")
        scheduled.health_when(lambda seen: seen.report["etcd"]["quorum"] and seen.report["etcd"]["leader"] in others)
        since = revision(scheduled)
        scheduled.on_each(RUN, others, timeout=LONGEST)
        found = statuses(scheduled, *others)
        assert {each["outcome"] for each in found.values()} == {"renewed"}, found
        assert sorted(turns(scheduled, since)) == [["cp1", "cp1"], ["cp2", "cp2"]]
    finally:
        scheduled.lab.do("start", "cp3")
    scheduled.settle(120)


def test_what_is_not_in_use_is_taken_back_and_an_unfit_or_locked_node_is_left_alone(scheduled: Cluster) -> None:
    shorten(scheduled, "cp1")
    before = scheduled.on_each(FILES)
    scheduled.lab.on("cp1", IMPATIENT)
    scheduled.lab.on("cp1", "systemctl kill -s STOP kube-scheduler")
    scheduled.on_each(RUN, ("cp1",), timeout=LONGEST)
    assert "the node is not well before" in statuses(scheduled, "cp1")["cp1"]["error"]
    scheduled.lab.on("cp1", "systemctl kill -s CONT kube-scheduler")
    scheduled.lab.on("cp1", """echo '{"owner": "alice@desk", "since": 0}' > /run/cpkit/lock.json""")
    scheduled.on_each(RUN, ("cp1",), timeout=LONGEST)
    assert "alice@desk" in statuses(scheduled, "cp1")["cp1"]["error"]
    scheduled.lab.on("cp1", "rm /run/cpkit/lock.json")
    assert scheduled.on_each(FILES) == before
    with unmoved(scheduled):
        scheduled.on_each(RUN, ("cp1",), timeout=LONGEST)
    assert "the previous ones are back" in statuses(scheduled, "cp1")["cp1"]["error"]
    assert scheduled.on_each(FILES) == before
    health = scheduled.health_when(lambda seen: ("certs.renewal", "cp1") in seen.troubles("warn"))
    assert "its own renewal failed" in health.text("certs.renewal", "cp1")


def test_killed_when_the_new_leaves_lie_there_the_next_run_finishes(scheduled: Cluster) -> None:
    before = scheduled.on_each(FILES)
    with unmoved(scheduled):
        scheduled.on_each(f"({KILL}) & {RUN}; wait", ("cp1",), timeout=LONGEST)
    assert scheduled.lab.on("cp1", f"ls -d {KEPT} /run/cpkit/lock.json | wc -l") == "2"
    scheduled.on_each(RUN, ("cp1",), timeout=LONGEST)
    assert "set to" in schedule(scheduled, "--yes"), "it mends the settings that were changed here"
    assert statuses(scheduled, "cp1")["cp1"]["outcome"] in {"renewed", "idle"}
    assert scheduled.on_each(FILES)["cp1"] != before["cp1"]
    assert scheduled.lab.on("cp1", f"ls -d {KEPT} /run/cpkit/lock.json 2>/dev/null | wc -l") == "0"
    scheduled.settle()


def test_taken_away_they_leave_nothing(scheduled: Cluster) -> None:
    assert "taken away from cp1, cp2, cp3" in schedule(scheduled, "--remove", "--yes")
    assert "Nothing was changed" in schedule(scheduled, "--remove")
    assert set(scheduled.on_each(LEFT).values()) == {""}
    with open_member(load_inventory(scheduled.lab.inventory).control_plane[0], timeout=30) as client:
        assert client.keys(b"/cpkit/renewal/", b"/cpkit/renewal0", revision=0, limit=5) == ()
    assert "no node renews its leaves by itself" in scheduled.settle().text("certs.renewal")
