"""Drift on paper: what events of a comparison say, what it needs, in which order, and what is not changed in place."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import permutations, product
from typing import Any

from cpkit.drift import (
    BALANCERS,
    FILES,
    LEAVES,
    REST,
    STEPS,
    Change,
    Diff,
    changes_of,
    leaf_changes,
    plan,
    refuse_fixed,
    refuse_versions,
    restarting,
    told,
)
from cpkit.drift.fixed import FIXED, UNITS
from cpkit.drift.plan import step_of
from cpkit.facts.snapshot import Snapshot
from cpkit.rolling import todo
from cpkit.ui.drift import to_json
from tests.unit.cases import cases
from tests.unit.health_snapshots import captured

NODES, LBS = ("cp1", "cp2", "cp3"), ("lb1", "lb2")
HEALTHY = captured("healthy")
ETCD, API = f"{UNITS}/etcd.service", f"{UNITS}/kube-apiserver.service"


def unit_text(**flags: str) -> str:
    words = [f"  --{name.replace('_', '-')}={value}" for name, value in flags.items()]
    return "[Service]\nExecStart=/opt/cpkit/x \\\n" + " \\\n".join(words) + "\nRestart=always\n"


def diff(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}


def task(role: str, name: str = "Lay down and start it") -> dict[str, Any]:
    return {"event": "task", "role": role, "name": name}


def on(node: str, state: str = "changed", **more: Any) -> dict[str, Any]:
    return {"event": "host", "host": node, "task": "", "state": state, **more}


def restart(node: str, component: str, *diffs: tuple[str, str, str], action: str = "restart") -> Change:
    paths = tuple(path for path, _, _ in diffs)
    return Change(node, component, action, paths, "", tuple(Diff(*each) for each in diffs))


def test_a_unit_and_the_files_that_are_its_own_are_read_from_the_events() -> None:
    units = [
        {"unit": "haproxy.service", "action": "reload", "paths": ["/etc/haproxy/haproxy.cfg"], "why": ""},
        {"unit": "keepalived.service", "action": "start", "paths": [], "why": ""},
    ]
    differ = [diff("/etc/haproxy/haproxy.cfg", "a\n", "b\n")]
    event = on("lb1", paths=["/etc/haproxy/haproxy.cfg"], diff=differ, units=units)
    found = changes_of([task("load_balancer"), event, on("lb2", "ok")])
    assert [(each.node, each.component, each.action, len(each.diffs)) for each in found] == [
        ("lb1", "haproxy", "reload", 1),
        ("lb1", "keepalived", "start", 0),
    ]


def test_files_of_the_pki_are_named_by_the_task_that_may_and_not_by_the_one_with_keys() -> None:
    paths = ["/etc/kubernetes/scheduler.kubeconfig"]
    found = changes_of([task("pki"), on("cp1"), on("cp2", "ok"), on("cp1", "ok", paths=paths)])
    assert found == (Change("cp1", "PKI", "lay down", tuple(paths)),)


def test_a_task_without_files_says_itself_what_it_is_about() -> None:
    found = changes_of([task("kube_apiserver", "Bind the administrators"), on("cp1")])
    assert found == (Change("cp1", "kube-apiserver", "lay down", (), "Bind the administrators"),)
    assert step_of(found[0]) is REST, "no API server is restarted for it"


@cases("state", ["ok", "skipped", "failed", "unreachable", "ignored"])
def test_what_did_not_change_is_no_drift(state: str) -> None:
    assert not changes_of([task("etcd"), on("cp1", state, paths=["/x"])])


def test_every_change_belongs_to_one_step() -> None:
    assert step_of(leaf_changes({"cp1": {"apiserver": "lacks a name"}})[0]) is LEAVES
    for component in ("files", "binaries", "PKI"):
        assert step_of(Change("cp1", component, "lay down")) is FILES
    for component, action in product(("haproxy", "keepalived"), ("reload", "start", "enable")):
        assert step_of(Change("lb1", component, action)) is BALANCERS
    for step, action in product(STEPS, ("restart", "start", "enable")):
        for component in step.components:
            assert step_of(Change("cp1", component, action)) is (REST if action == "enable" else step)


def everything(order: Iterable[str] = NODES) -> list[Change]:
    return [
        *(restart(node, part) for node in order for part in ("kube-scheduler", "kube-apiserver", "etcd")),
        *(restart(node, "haproxy", action="reload") for node in LBS),
        *leaf_changes({node: {"apiserver": "lacks a name"} for node in order}),
        Change("cp1", "files", "lay down", ("/etc/cpkit/cluster.json",)),
        Change("cp1", "etcd", "enable"),
    ]


@cases("order", list(permutations(NODES)))
def test_the_order_is_the_same_whatever_was_found_first_and_the_leader_is_last(order: tuple[str, ...]) -> None:
    leader = next(name for name, each in HEALTHY.etcd.statuses.items() if each.id == each.leader)
    found = plan(HEALTHY, everything(order))
    names = [LEAVES.name, FILES.name, BALANCERS.name, *(step.name for step in STEPS), REST.name]
    assert [each.name for each in found.rounds] == names
    for step in (LEAVES, *STEPS):
        assert len(found.of(step)) == 3
        assert found.of(step)[-1] == leader
    assert found.of(BALANCERS) == LBS


def test_only_what_differs_is_in_the_plan() -> None:
    found = plan(HEALTHY, [restart("cp2", "kube-scheduler")])
    assert [(each.nodes, each.actions) for each in found.rounds] == [(("cp2",), ("restart kube-scheduler",))]
    assert not plan(HEALTHY, ()).drifted
    assert not plan(HEALTHY, ()).rounds


def test_only_some_nodes_are_changed_and_the_others_are_named() -> None:
    found = plan(HEALTHY, everything(), only={"cp1"})
    assert {node for each in found.rounds for node in each.nodes} == {"cp1"}
    assert found.left == ("cp2", "cp3", "lb1", "lb2")
    assert plan(HEALTHY, [restart("cp2", "etcd")], only={"cp1"}).drifted, (
        "the cluster has drifted though this node has not"
    )


def test_a_node_is_done_when_its_turn_was_made_and_others_never_had_to_be() -> None:
    made: set[tuple[str, str]] = set()
    (step,) = restarting(plan(HEALTHY, [restart("cp1", "kube-scheduler"), restart("cp2", "kube-scheduler")]), made)
    assert set(todo(step, HEALTHY)) == {"cp1", "cp2"}
    made |= {(STEPS[0].name, "cp1"), (step.name, "cp2")}
    assert todo(step, HEALTHY) == ("cp1",)
    made.add((step.name, "cp1"))
    assert not todo(step, HEALTHY)


def test_only_the_pass_of_etcd_hands_leadership_over_and_no_pass_is_made_for_nothing() -> None:
    passes = restarting(plan(HEALTHY, everything()), ())
    assert [each.stops_etcd for each in passes] == [True, False, False]
    assert not restarting(plan(HEALTHY, [Change("cp1", "files", "lay down", ("/x",))]), ())


@cases("fixed", [each for each in FIXED if each.path.startswith(UNITS)])
def test_a_flag_that_is_fixed_is_refused_when_all_nodes_would_change_and_put_right_when_one_has_drifted(
    fixed: Any,
) -> None:
    name = fixed.pattern.partition("--")[2].partition("=")[0]
    component = fixed.path.rpartition("/")[2].removesuffix(".service")
    before, after = (unit_text(**{"a": "1", name: value, "z": "2"}) for value in ("here", "there"))
    odd = [restart(node, component, (fixed.path, before, after)) for node in NODES]
    (refusal,) = refuse_fixed(odd, (NODES, LBS))
    assert "here on the nodes, and there in the inventory" in refusal.text
    for some in (odd[:1], odd[:2], odd[1:]):
        assert not list(refuse_fixed(some, (NODES, LBS)))
    other = [restart(node, component, (fixed.path, before, before.replace("=1", "=3"))) for node in NODES]
    assert not list(refuse_fixed(other, (NODES, LBS))), "another flag of the same unit may change"
    anew = [restart(node, component, (fixed.path, "", after)) for node in NODES]
    assert not list(refuse_fixed(anew, (NODES, LBS))), "a file that is not there is laid down"


@cases(
    ("path", "before", "after", "says"),
    [
        ("/etc/cpkit/cluster.json", '{"name": "a", "address": "1"}', '{"name": "b", "address": "1"}', "cluster_name"),
        ("/etc/cpkit/cluster.json", '{"name": "a", "address": "1"}', '{"name": "a", "address": "2"}', "node_address"),
        ("/etc/haproxy/haproxy.cfg", "f\n    bind :6443\n", "f\n    bind :443\n", "cluster_endpoint"),
        (
            "/etc/keepalived/keepalived.conf",
            "virtual_ipaddress {\n        192.0.2.1/32\n    }",
            "virtual_ipaddress {\n        192.0.2.9/32\n    }",
            "cluster_endpoint",
        ),
        ("/etc/keepalived/keepalived.conf", "virtual_router_id 51", "virtual_router_id 52", "virtual_router_id"),
    ],
)
def test_what_all_machines_of_a_kind_share_is_refused(path: str, before: str, after: str, says: str) -> None:
    nodes = NODES if "cpkit" in path else LBS
    odd = [restart(node, "x", (path, before, after)) for node in nodes]
    (refusal,) = refuse_fixed(odd, (NODES, LBS))
    assert says in refusal.text
    assert not list(refuse_fixed(odd[1:], (NODES, LBS)))


def test_a_longer_prefix_of_the_vip_is_not_another_address() -> None:
    texts = (f"virtual_ipaddress {{\n        192.0.2.1/{prefix}\n    }}" for prefix in (32, 24))
    before, after = texts
    odd = [restart(node, "keepalived", ("/etc/keepalived/keepalived.conf", before, after)) for node in LBS]
    assert not list(refuse_fixed(odd, (NODES, LBS)))


def wanting(**more: Any) -> Snapshot:
    return replace(HEALTHY, plan=replace(HEALTHY.plan, **more))


def test_another_version_leads_to_an_upgrade_and_an_emulated_one_to_its_end() -> None:
    assert not list(refuse_versions(HEALTHY))
    cases: tuple[tuple[dict[str, str], str, int], ...] = (
        ({"kubernetes": "1.99.1"}, "cpkit upgrade rolling", 9),
        ({"etcd": "3.99.1"}, "cpkit upgrade rolling", 3),
        ({"emulates": "1.30"}, "cpkit upgrade finalize", 9),
    )
    for change, hint, count in cases:
        refusals = list(refuse_versions(wanting(**change)))
        assert len(refusals) == count
        assert all(hint in each.hint for each in refusals)
        assert {each.node for each in refusals} == set(NODES)


def test_nodes_that_differ_alike_are_told_once_and_units_by_their_flags() -> None:
    texts = [(unit_text(name=node, v="2"), unit_text(name=node, v="4")) for node in NODES]
    found = plan(HEALTHY, [restart(node, "etcd", (ETCD, *each)) for node, each in zip(NODES, texts, strict=True)])
    lines = told(found)
    assert lines.count("cp1, cp2, cp3: etcd: restart") == 1
    assert [line.strip() for line in lines if "--" in line] == ["-  --v=2", "+  --v=4"]
    assert to_json(found)["drift"]


def test_no_drift_is_said_in_one_line() -> None:
    assert [line for line in told(plan(HEALTHY, ())) if line] == [
        f"{HEALTHY.plan.cluster}: every node has what the inventory asks for"
    ]
