"""Preflight's judgement on data: a healthy cluster, and one thing wrong at a time."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from cpkit.errors import Exit, UsageError
from cpkit.facts.clock import Clock
from cpkit.facts.preflight_question import questions
from cpkit.facts.preflight_snapshot import (
    Dial,
    Disk,
    Facts,
    Fsync,
    Interface,
    Listener,
    Measured,
    NodeState,
    PreflightSnapshot,
    Trouble,
    Unit,
    VipProbe,
)
from cpkit.health.finding import Finding
from cpkit.health.preflight import CHECKS, judge
from cpkit.inventory import Cluster, ClusterSpec, Endpoint, Node, SshTarget
from cpkit.operations.preflight import PreflightReport, refuse_unknown
from cpkit.ui.preflight import as_json, render
from tests.unit.cases import cases

if TYPE_CHECKING:
    from cpkit.inventory.cluster import Role

GB = 10**9
VIP = "10.0.0.100"
ADDRESSES = {"cp1": "10.0.0.1", "cp2": "10.0.0.2", "cp3": "10.0.0.3", "lb1": "10.0.0.11", "lb2": "10.0.0.12"}


def node(name: str) -> Node:
    role: Role = "control_plane" if name.startswith("cp") else "load_balancer"
    return Node(name, ADDRESSES[name], role, SshTarget(ADDRESSES[name], user="admin"))


def cluster(*names: str, **spec: Any) -> Cluster:
    nodes = [node(name) for name in names or ADDRESSES]
    return Cluster(
        Path("prod"),
        ClusterSpec(cluster_name="prod", cluster_endpoint=VIP, **spec),
        tuple(n for n in nodes if n.role == "control_plane"),
        tuple(n for n in nodes if n.role == "load_balancer"),
        Endpoint(VIP),
    )


def mac(name: str) -> str:
    return f"02:00:00:00:00:{list(ADDRESSES).index(name) + 1:02x}"


def facts(name: str, **changes: Any) -> Facts:
    control_plane = name.startswith("cp")
    room = Disk("/var/lib", 50 * GB, 10**6, read_only=False)
    good = Facts(
        python=(3, 11),
        machine="x86_64",
        hostname=name,
        machine_id=f"id-of-{name}",
        os={"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"},
        systemd=252,
        memory=4 * GB,
        cpus=2,
        interfaces=(
            Interface("lo", "00:00:00:00:00:00", ("127.0.0.1/8", "::1/128")),
            Interface("eth0", mac(name), (f"{ADDRESSES[name]}/24",)),
        ),
        disks={"etcd": room, "binaries": room} if control_plane else {"packages": room},
        listeners=(),
        tools=frozenset({"systemctl", "ip"}),
        packages={} if control_plane else {"haproxy": "available", "keepalived": "installed"},
        etcd_data=(),
        etcd_data_mounted=False,
        kubernetes=(),
        manifests=(),
        authority="",
        marker_name="",
        marker_node="",
        marker_id="",
        units=(),
        balancing_managed=False,
        balancing_in_use=False,
        resolved=(VIP,),
    )
    return replace(good, **changes)


def state(name: str, **changes: Any) -> NodeState:
    targets = [target for target in ("cp1", "cp2", "cp3") if target != name]
    ports = (2379, 2380, 6443) if name.startswith("cp") else (6443,)
    measured = Measured(
        dials=tuple(Dial(target, ADDRESSES[target], port, "") for target in targets for port in ports),
        busy={},
        fsync=Fsync("/var/lib", 2000, 1.2, 5.0) if name.startswith("cp") else None,
        vip=VipProbe(VIP) if name.startswith("lb") else None,
    )
    known = changes.pop("facts", facts(name))
    return replace(NodeState(node(name), clock=Clock(0.5, 0.005), facts=known, measured=measured), **changes)


def snapshot(*changed: NodeState, quick: bool = False, of: Cluster | None = None) -> PreflightSnapshot:
    other = {changed_state.name: changed_state for changed_state in changed}
    described = of or cluster()
    return PreflightSnapshot(described, tuple(other.get(n.name) or state(n.name) for n in described.nodes), quick)


def troubles(*changed: NodeState, **options: Any) -> list[Finding]:
    return [finding for finding in judge(snapshot(*changed, **options)) if finding.level != "ok"]


def only(*changed: NodeState, **options: Any) -> Finding:
    found = troubles(*changed, **options)
    assert len(found) == 1, found
    return found[0]


def with_facts(name: str, **changes: Any) -> NodeState:
    return state(name, facts=facts(name, **changes))


def test_a_healthy_cluster_passes_every_check() -> None:
    findings = judge(snapshot())
    assert {finding.level for finding in findings} == {"ok"}
    assert {finding.check for finding in findings} == set(CHECKS)


def test_every_trouble_comes_with_a_fix() -> None:
    sick = [
        with_facts("cp1", os={}, systemd=0, memory=1, cpus=1, hostname="cp2", tools=frozenset(), interfaces=()),
        with_facts("cp2", etcd_data=("member",), kubernetes=("pki",), resolved=(), marker_name="other"),
        state("cp3", facts=None, trouble=Trouble("python3", "python3 is missing", "Install it.")),
        with_facts("lb1", packages={"haproxy": "missing"}, resolved=(), balancing_in_use=True),
    ]
    found = troubles(*sick)
    assert len({finding.check for finding in found}) >= 10
    assert [finding for finding in found if not finding.hint] == []


@cases(
    ("release", "level"),
    [
        ({"ID": "debian", "VERSION_ID": "13"}, "ok"),
        ({"ID": "debian", "VERSION_ID": "11"}, "fail"),
        ({"ID": "debian", "PRETTY_NAME": "Debian GNU/Linux trixie/sid"}, "warn"),
        ({"ID": "ubuntu", "VERSION_ID": "22.04"}, "ok"),
        ({"ID": "ubuntu", "VERSION_ID": "20.04"}, "fail"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora", "VERSION_ID": "9.4"}, "warn"),
        ({"ID": "centos", "ID_LIKE": "rhel fedora", "VERSION_ID": "7"}, "fail"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian", "VERSION_ID": "22"}, "warn"),
        ({"ID": "alpine", "VERSION_ID": "3.20.1"}, "fail"),
        ({}, "fail"),
    ],
)
def test_operating_systems(release: dict[str, str], level: str) -> None:
    found = [f for f in judge(snapshot(with_facts("cp1", os=release))) if f.check == "os.supported" and f.node == "cp1"]
    assert [finding.level for finding in found] == [level]


@cases(
    ("changes", "check", "level"),
    [
        ({"machine": "riscv64"}, "os.supported", "fail"),
        ({"systemd": 0}, "os.systemd", "fail"),
        ({"systemd": 241}, "os.systemd", "warn"),
        ({"memory": int(1.5 * GB)}, "memory", "warn"),
        ({"memory": int(0.5 * GB)}, "memory", "fail"),
        ({"cpus": 1}, "cpu", "warn"),
        ({"tools": frozenset({"systemctl"})}, "units.tools", "fail"),
        ({"disks": {"etcd": Disk("/var/lib/etcd", GB * 3 // 2, 10**6, read_only=False)}}, "disk.etcd", "warn"),
        ({"disks": {"etcd": Disk("/var/lib/etcd", 4096, 10**6, read_only=False)}}, "disk.etcd", "fail"),
        ({"disks": {"etcd": Disk("/var/lib/etcd", 9 * GB, 3, read_only=False)}}, "disk.etcd", "fail"),
        ({"disks": {"binaries": Disk("/opt", 9 * GB, -1, read_only=True)}}, "disk.binaries", "fail"),
        ({"hostname": "CP2"}, "names.unique", "fail"),
        ({"machine_id": "id-of-cp2"}, "names.unique", "fail"),
        ({"interfaces": (Interface("eth0", mac("cp1"), ("192.168.9.1/24",)),)}, "addresses.unique", "fail"),
    ],
)
def test_one_thing_wrong_with_a_machine(changes: dict[str, Any], check: str, level: str) -> None:
    found = troubles(with_facts("cp1", **changes))
    assert {(finding.check, finding.level) for finding in found} == {(check, level)}
    assert "cp1" in {finding.node for finding in found}


def test_a_machine_sold_with_two_gigabytes_is_big_enough() -> None:
    assert troubles(with_facts("cp1", memory=int(1.9 * GB))) == []


@pytest.mark.parametrize("check", ["ssh.reach", "ssh.host-key", "ssh.login", "facts"])
def test_a_node_that_could_not_be_looked_into_is_unknown_and_hides_no_other(check: str) -> None:
    lost = state("cp2", facts=None, measured=None, clock=None, trouble=Trouble(check, "no", "do"))
    assert only(lost) == Finding(check, "cp2", "unknown", "no", "do")
    assert [f.check for f in judge(snapshot(lost)) if f.node == "cp2"] == [*CHECKS][: [*CHECKS].index(check) + 1]


def test_clocks() -> None:
    assert troubles(state("cp1", clock=Clock(0.65, 0.005))) == []
    ahead = only(state("cp1", clock=Clock(1.0, 0.005)))
    assert (ahead.check, ahead.node, ahead.level) == ("clock.skew", "cp1", "fail")
    assert "0.500 s ahead" in ahead.text
    assert only(state("cp1", clock=Clock(0.8, 0.3))).level == "unknown"


def test_clocks_far_apart_on_both_sides_of_the_middle_are_both_named() -> None:
    found = troubles(state("cp1", clock=Clock(0.37, 0.001)), state("cp3", clock=Clock(0.63, 0.001)))
    assert [(finding.node, finding.level) for finding in found] == [("cp1", "fail"), ("cp3", "fail")]


def test_the_operators_own_clock_does_not_matter() -> None:
    assert troubles(*(state(name, clock=Clock(-86400, 0.01)) for name in ADDRESSES)) == []


def listener(port: int, address: str = "0.0.0.0", **changes: Any) -> Listener:  # noqa: S104
    held = Listener(address, port, 812, "python3", "/usr/bin/python3.11", "", "python3 -m http.server")
    return replace(held, **changes)


def test_a_port_that_is_taken_names_the_process() -> None:
    found = only(with_facts("cp1", listeners=(listener(6443),)))
    assert (found.check, found.node) == ("ports.free", "cp1")
    assert "6443" in found.text
    assert "pid 812" in found.text
    assert "kill 812" in found.hint


def test_a_port_taken_by_a_unit_is_freed_by_stopping_the_unit() -> None:
    found = only(with_facts("lb1", listeners=(listener(6443, unit="nginx.service", process="nginx"),)))
    assert "systemctl disable --now nginx.service" in found.hint


@cases(
    ("port", "address", "in_the_way"),
    [
        (10257, "127.0.0.1", True),
        (10257, "::", True),
        (10257, "10.0.0.1", False),
        (2379, "10.0.0.1", True),
        (2379, "::1", True),
        (2379, "172.17.0.1", False),
    ],
)
def test_only_listeners_on_the_addresses_that_are_needed_are_in_the_way(
    port: int, address: str, in_the_way: bool
) -> None:
    assert bool(troubles(with_facts("cp1", listeners=(listener(port, address),)))) is in_the_way


def test_cpkits_own_services_may_hold_their_ports() -> None:
    etcd = listener(2379, executable="/opt/cpkit/etcd/3.6.16/etcd", process="etcd", unit="etcd.service")
    proxy = listener(6443, process="haproxy", unit="haproxy.service", executable="/usr/sbin/haproxy")
    assert (
        troubles(with_facts("cp1", listeners=(etcd,)), with_facts("lb1", listeners=(proxy,), marker_name="prod")) == []
    )
    assert only(with_facts("lb1", listeners=(proxy,))).check == "ports.free"


def dials(*failed: tuple[str, int, str]) -> Measured:
    return Measured(tuple(Dial(target, ADDRESSES[target], port, why) for target, port, why in failed), {})


def test_a_firewall_is_told_by_who_cannot_reach_whom() -> None:
    dropped = dials(("cp2", 2379, ""), ("cp2", 2380, "timeout"), ("cp3", 2380, ""))
    found = only(state("cp1", measured=dropped))
    assert found.text == "cp1 cannot reach cp2:2380 (no answer)"
    assert "to 10.0.0.2" in found.hint


def test_a_firewall_of_one_node_is_one_trouble() -> None:
    found = only(*(state(name, measured=dials(("cp2", 2380, "timeout"))) for name in ("cp1", "cp3")))
    assert (found.node, found.text) == ("cp2", "cp1 and cp3 cannot reach cp2:2380 (no answer)")


def test_ports_of_one_target_are_told_together() -> None:
    found = only(state("cp1", measured=dials(("cp2", 2380, "no route"), ("cp2", 2379, "no route"))))
    assert found.text == "cp1 cannot reach cp2:2379,2380 (no route, or rejected by a firewall)"


def test_a_port_that_could_not_be_opened_is_not_called_unreachable() -> None:
    refused = state("cp1", measured=dials(("cp2", 2380, "refused")))
    unopened = state("cp2", measured=Measured((), {2380: "Address already in use"}))
    found = only(refused, unopened)
    assert (found.level, found.node) == ("unknown", "cp2")


def test_lost_measurements_are_unknown() -> None:
    found = only(state("cp1", measured=None, unmeasured="the measurements were lost: timeout"))
    assert (found.check, found.level) == ("ports.reachable", "unknown")


def test_fsync() -> None:
    slow = only(state("cp1", measured=Measured((), {}, Fsync("/var/lib", 180, 38.0, 90.0))))
    assert (slow.check, slow.level) == ("etcd.fsync", "warn")
    assert "180 writes" in slow.text
    full = only(state("cp1", measured=Measured((), {}, Fsync("/var/lib", error="No space left on device"))))
    assert full.level == "fail"


def holding(name: str, **changes: Any) -> NodeState:
    eth0 = Interface("eth0", mac(name), (f"{ADDRESSES[name]}/24", f"{VIP}/32"))
    return with_facts(name, interfaces=(eth0,), **changes)


def asked(name: str, *macs: str, answers: str = "") -> NodeState:
    return state(name, measured=replace(dials(("cp1", 6443, "")), vip=VipProbe(VIP, macs, answers)))


KEEPALIVED = Unit("keepalived.service", active=True, enabled=True, path="")


def test_a_vip_that_a_balancer_of_ours_holds_is_fine() -> None:
    assert troubles(holding("lb1", units=(KEEPALIVED,)), asked("lb2", mac("lb1"))) == []


def test_a_balancer_that_takes_the_vip_between_two_looks_is_no_stranger() -> None:
    assert troubles(with_facts("lb2", units=(KEEPALIVED,)), asked("lb1", mac("lb2"))) == []
    assert "an answer from lb2" in only(asked("lb1", mac("lb2"))).text, "without keepalived it has no business with it"
    stranger = only(with_facts("cp2", units=(KEEPALIVED,)), asked("lb1", mac("cp2")))
    assert "an answer from cp2" in stranger.text


def test_a_vip_on_a_balancer_without_keepalived_is_told() -> None:
    assert only(holding("lb1")).level == "warn"


def test_a_vip_on_a_control_plane_node_is_refused() -> None:
    found = troubles(holding("cp1"), asked("lb1", mac("cp1")), asked("lb2", mac("cp1")))
    assert [(finding.check, finding.node, finding.level) for finding in found] == [("vip.unused", "cp1", "fail")]


def test_a_stranger_with_the_vip_is_told_once() -> None:
    found = only(asked("lb1", "52:54:00:aa:bb:cc"), asked("lb2", "52:54:00:aa:bb:cc"))
    assert "52:54:00:aa:bb:cc" in found.text
    assert "outside this inventory" in found.text


def test_a_vip_beyond_a_router_that_answers_is_told() -> None:
    assert "ping" in only(asked("lb1", answers="ping")).text


def test_a_quick_look_does_not_claim_that_the_vip_is_free() -> None:
    quick = [state(name, measured=None) for name in ADDRESSES]
    assert {"vip.unused", "ports.reachable", "etcd.fsync"}.isdisjoint(
        finding.check for finding in judge(snapshot(*quick, quick=True))
    )


def test_the_endpoint_must_resolve_and_fit_the_balancers_network() -> None:
    assert only(with_facts("lb1", resolved=())).level == "fail"
    outside = [with_facts(name, resolved=("10.9.9.9",)) for name in ("lb1", "lb2")]
    probed = [replace(lb, measured=Measured((), {}, vip=VipProbe("10.9.9.9"))) for lb in outside]
    assert {(finding.check, finding.level) for finding in troubles(*probed)} == {("endpoint.binding", "warn")}


def test_an_interface_for_the_vip_must_exist() -> None:
    found = troubles(of=cluster(load_balancer_interface="eth7"))
    assert {(finding.check, finding.node, finding.level) for finding in found} == {
        ("endpoint.binding", "lb1", "fail"),
        ("endpoint.binding", "lb2", "fail"),
    }


OURS = {"marker_name": "prod", "marker_id": "a", "authority": "ca-1", "etcd_data": ("member",), "kubernetes": ("pki",)}


def test_what_is_left_of_this_cluster_is_taken_up_again() -> None:
    assert troubles(*(with_facts(name, **OURS) for name in ("cp1", "cp2", "cp3"))) == []
    marked = with_facts("cp1", marker_name="prod", marker_id="a")
    assert troubles(marked) == []


def test_an_unmarked_node_with_this_clusters_ca_belongs_to_it() -> None:
    assert troubles(with_facts("cp1", **OURS), with_facts("cp2", **OURS | {"marker_name": "", "marker_id": ""})) == []


@cases(
    "changes",
    [
        {"etcd_data": ("member",)},
        {"kubernetes": ("admin.conf", "pki"), "authority": "ca-9"},
        {"kubernetes": ("manifests",), "manifests": ("etcd.yaml",)},
        OURS | {"marker_name": "staging"},
        OURS | {"marker_id": "b"},
        OURS | {"marker_node": "cp1"},
        OURS | {"authority": "ca-9"},
        {"units": (Unit("k3s.service", active=False, enabled=True, path=""),)},
        {"units": (Unit("rke2-server.service", active=True, enabled=False, path=""),)},
    ],
)
def test_leftovers_of_another_cluster_are_refused_with_the_way_out(changes: dict[str, Any]) -> None:
    found = only(with_facts("cp1", **OURS), with_facts("cp2", **OURS), with_facts("cp3", **changes))
    assert (found.check, found.node, found.level) == ("leftovers", "cp3", "fail")
    assert "`" in found.hint


def test_two_clusters_of_one_name_are_both_named_when_neither_is_in_the_majority() -> None:
    found = troubles(with_facts("cp1", **OURS), with_facts("cp2", **OURS | {"marker_id": "b"}))
    assert [finding.node for finding in found] == ["cp1", "cp2"]


def test_an_empty_kubelet_directory_is_no_leftover() -> None:
    idle = Unit("kubelet.service", active=False, enabled=True, path="")
    assert troubles(with_facts("cp1", kubernetes=("manifests",), units=(idle,))) == []


def test_a_balancer_that_works_for_somebody_else_is_not_taken_over() -> None:
    assert only(with_facts("lb1", balancing_in_use=True)).check == "leftovers"
    assert troubles(with_facts("lb1", balancing_in_use=True, balancing_managed=True)) == []


def test_moving_etcd_data_aside_stops_etcd_first_and_never_deletes() -> None:
    running = Unit("etcd.service", active=True, enabled=True, path="")
    found = only(with_facts("cp1", etcd_data=("member",), units=(running,)))
    assert "systemctl disable --now etcd && mv /var/lib/etcd /var/lib/etcd.old" in found.hint
    assert "rm " not in found.hint


def test_every_node_dials_what_it_will_need_and_nothing_else() -> None:
    described = snapshot(state("cp3", facts=None, trouble=Trouble("ssh.reach", "off")))
    asked_of = questions(described.cluster, described.nodes, seconds=4)
    assert set(asked_of) == {"cp1", "cp2", "lb1", "lb2"}
    assert [(d["node"], d["port"]) for d in asked_of["cp1"]["network"]["dial"]] == [
        ("cp2", 2379),
        ("cp2", 2380),
        ("cp2", 6443),
    ]
    assert [(d["node"], d["port"]) for d in asked_of["lb1"]["network"]["dial"]] == [("cp1", 6443), ("cp2", 6443)]
    assert set(asked_of["cp1"]["network"]["listen"]["6443"]) == {"cp2", "lb1", "lb2"}
    assert asked_of["lb1"]["network"]["listen"] == {}
    assert asked_of["lb1"]["vip"] == {"interface": "eth0", "address": VIP, "port": 6443}


def test_a_port_in_use_is_dialled_and_not_opened() -> None:
    described = snapshot(with_facts("cp1", listeners=(listener(2379, executable="/opt/cpkit/etcd/current/etcd"),)))
    asked_of = questions(described.cluster, described.nodes, seconds=4)["cp1"]
    assert "2379" not in asked_of["network"]["listen"]
    assert asked_of["fsync"] is None  # etcd runs here


@pytest.mark.parametrize(
    ("path", "mounted", "measured"),
    [("/var/lib", False, "/var/lib"), ("/var/lib/etcd", False, "/var/lib"), ("/var/lib/etcd", True, "/var/lib/etcd")],
)
def test_fsync_is_measured_on_etcds_disk_without_touching_its_data(path: str, mounted: bool, measured: str) -> None:
    disks = {"etcd": Disk(path, GB * 9, 10**6, read_only=False)}
    described = snapshot(with_facts("cp1", disks=disks, etcd_data_mounted=mounted))
    assert questions(described.cluster, described.nodes, seconds=4)["cp1"]["fsync"]["path"] == measured


def report(*changed: NodeState, ignore: tuple[str, ...] = ()) -> PreflightReport:
    return PreflightReport("prod", tuple(ADDRESSES), judge(snapshot(*changed)), frozenset(ignore), 1.0)


def test_exit_codes() -> None:
    small, lost = (
        with_facts("cp1", memory=1),
        state("cp2", facts=None, measured=None, clock=None, trouble=Trouble("ssh.reach", "timed out")),
    )
    assert report().exit_code is Exit.OK
    assert report(with_facts("cp1", cpus=1)).exit_code is Exit.OK
    assert report(small).exit_code is Exit.REFUSED
    assert report(lost).exit_code is Exit.UNKNOWN
    assert report(small, lost).exit_code is Exit.REFUSED
    assert report(small, lost, ignore=("memory",)).exit_code is Exit.UNKNOWN
    assert report(small, lost, ignore=("memory", "ssh.reach")).exit_code is Exit.OK


def test_an_ignored_finding_is_still_shown() -> None:
    ignored = report(with_facts("cp1", memory=1), ignore=("memory",))
    assert [f["check"] for f in as_json(ignored)["findings"] if f["ignored"] and f["level"] == "fail"] == ["memory"]
    assert "ignored  memory" in drawn(ignored)


def drawn(of: PreflightReport) -> str:
    console = Console(width=100, file=StringIO())
    console.print(render(of))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_problems_stand_last_and_alike_ones_together() -> None:
    text = drawn(report(with_facts("cp1", cpus=1), with_facts("cp2", cpus=1), with_facts("cp3", memory=1)))
    assert "warn  cpu     cp1, cp2: 1 CPU" in text
    assert text.index("warn  cpu") < text.index("FAIL  memory") < text.index("1 failed, 2 to look at")
    assert "--ignore" in text


def test_text_from_a_node_is_never_taken_for_markup() -> None:
    evil = replace(listener(6443), process="[red]x[/bold]", command="[/]")
    assert "[red]x[/bold]" in drawn(report(with_facts("cp1", listeners=(evil,))))


def test_a_misspelt_check_is_refused_with_the_right_name() -> None:
    refuse_unknown(frozenset(CHECKS))
    with pytest.raises(UsageError) as refused:
        refuse_unknown(frozenset({"memroy"}))
    assert "memory" in refused.value.hint
