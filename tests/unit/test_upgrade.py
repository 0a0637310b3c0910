"""Upgrades on paper: what they lead to, in which order, what forbids them, and when a node is done."""

from dataclasses import replace
from itertools import product

import pytest

from cpkit.errors import Refused, UsageError
from cpkit.facts.host import Component
from cpkit.facts.snapshot import Snapshot
from cpkit.health.standing import refuse_other_versions
from cpkit.inventory import ClusterSpec
from cpkit.rolling import todo
from cpkit.upgrade import Outside, Target, UpgradePlan, passes, plan, target_of
from cpkit.upgrade.passes import STEPS, has
from cpkit.upgrade.target import Verb
from cpkit.versions import Version, version_table
from tests.unit.cases import cases
from tests.unit.health_snapshots import Spoil, captured, host, silence, spoiled

NODES = ("cp1", "cp2", "cp3")
COMPONENTS = tuple(component for step in STEPS for component in step.components)
NEXT = Target(Version(1, 37, 2), Version(3, 7, 3))
SPEC = ClusterSpec(cluster_name="prod", cluster_endpoint="192.0.2.1")
LEADER = "cp2"


def at(kubernetes: str = "1.36.3", etcd: str = "3.6.16", *spoils: Spoil, before: str = "/", **odd: str) -> Snapshot:
    """A healthy cluster at these versions; `cp1_etcd="3.7.3"` differs, "1.37.2 as 1.36" emulates."""
    snapshot = spoiled(*spoils) if spoils else captured("healthy")
    nodes = dict(snapshot.nodes)
    for name in NODES:
        found = nodes[name].host
        if found is None:
            continue
        versions = {component: etcd if component == "etcd" else kubernetes for component in COMPONENTS}
        versions |= {
            component: odd[key] for component in COMPONENTS if (key := f"{name}_{component.replace('-', '_')}") in odd
        }
        components = {
            component: component_at(version, before.split("/")[component == "etcd"])
            for component, version in versions.items()
        }
        nodes[name] = replace(nodes[name], host=replace(found, components=components))
    leads = snapshot.etcd.statuses[LEADER].id
    statuses = {
        name: status if status.error else replace(status, leader=leads)
        for name, status in snapshot.etcd.statuses.items()
    }
    return replace(snapshot, nodes=nodes, etcd=replace(snapshot.etcd, statuses=statuses))


def component_at(version: str, before: str) -> Component:
    number, _, emulates = version.partition(" as ")
    return Component(number, number, emulates, emulates, before=before)


def rules(found: UpgradePlan) -> set[tuple[str, str]]:
    return {(refusal.rule, refusal.node) for refusal in found.refusals}


def target(kubernetes: str, etcd: str = "3.6.16", emulates: str = "", verb: Verb = "Upgrade") -> Target:
    return Target(Version.parse(kubernetes), Version.parse(etcd), emulates, verb)


# Where it leads


@cases(
    ("to", "etcd", "leads_to"),
    [
        ("1.37.2", "", ("1.37.2", "3.7.3")),
        ("v1.37.2", "", ("1.37.2", "3.7.3")),
        ("1.37", "", ("1.37.2", "3.7.3")),
        ("1.37", "3.6.16", ("1.37.2", "3.6.16")),
        ("1.36.5", "", ("1.36.5", "3.6.16")),
        ("", "", ("1.36.3", "3.6.16")),
        ("", "3.7.3", ("1.36.3", "3.7.3")),
    ],
)
def test_the_target_is_what_was_named_and_else_what_goes_with_it(to: str, etcd: str, leads_to: tuple[str, str]) -> None:
    assert target_of(SPEC, at(), to=to, etcd=etcd) == target(*leads_to)


def test_an_etcd_that_nobody_named_does_not_go_back() -> None:
    assert target_of(SPEC, at(etcd="3.7.3"), to="1.36.4").etcd == Version(3, 7, 3)
    assert target_of(SPEC, at(cp3_etcd="3.7.3"), to="1.36.4").etcd == Version(3, 7, 3)


def test_an_etcd_that_the_inventory_names_stays() -> None:
    named = SPEC.model_copy(update={"cluster_etcd_version": "3.6.14"})
    assert target_of(named, at(), to="1.37").etcd == Version(3, 6, 14)


@cases("to", ["1.99", "1.99.1", "1.2", "37", "1.37.x", "1.37.2.1", "latest"])
def test_a_version_that_is_none_or_not_supported_is_the_users_mistake(to: str) -> None:
    with pytest.raises(UsageError):
        target_of(SPEC, at(), to=to)


def test_an_etcd_below_the_floor_of_the_minor_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match=r"etcd 3\.6\.10 is older than 3\.6\.11"):
        target_of(SPEC, at(), to="1.37", etcd="3.6.10")


# In which order


def test_etcd_comes_first_then_every_api_server_then_the_controllers_and_the_leader_last() -> None:
    found = plan(at(), NEXT)
    assert [each.components for each in found.rounds] == [
        ("etcd",),
        ("kube-apiserver",),
        ("kube-controller-manager", "kube-scheduler"),
    ]
    assert {each.nodes for each in found.rounds} == {("cp1", "cp3", "cp2")}
    assert all(each.why for each in found.rounds)
    assert found.refusals == ()
    assert not found.begun


def test_a_pass_with_nothing_to_do_is_not_in_the_plan() -> None:
    assert [each.components for each in plan(at(), target("1.36.4")).rounds] == [step.components for step in STEPS[1:]]
    assert [each.components for each in plan(at(), target("1.36.3", "3.7.3")).rounds] == [STEPS[0].components]
    assert plan(at(), target("1.36.3")).rounds == ()


@cases("new", list(product((False, True), repeat=3)))
def test_an_upgrade_that_was_cut_off_goes_on_with_what_is_left(new: tuple[bool, ...]) -> None:
    odd = {f"{name}_etcd": "3.7.3" for name, done in zip(NODES, new, strict=True) if done}
    found = plan(at(**odd), NEXT)
    left = [name for name in ("cp1", "cp3", "cp2") if f"{name}_etcd" not in odd]
    assert [list(each.nodes) for each in found.rounds if each.components == ("etcd",)] == ([left] if left else [])
    assert found.begun == (0 < sum(new) < 3)
    assert found.refusals == ()


def test_a_plan_tells_what_each_component_of_each_node_runs_and_will() -> None:
    found = plan(at(cp1_kube_apiserver="1.37.2"), NEXT)
    told = {(each.node, each.component): (each.running, each.target, each.done) for each in found.changes}
    assert len(told) == 12
    assert told["cp1", "kube-apiserver"] == ("1.37.2", "1.37.2", True)
    assert told["cp2", "kube-apiserver"] == ("1.36.3", "1.37.2", False)
    assert told["cp3", "etcd"] == ("3.6.16", "3.7.3", False)


# When a node is done


@cases(
    ("running", "selected", "done"),
    [
        ("1.37.2", "1.37.2", True),
        ("1.36.3", "1.37.2", False),  # selected, not restarted: a run that was killed in between
        ("1.37.2", "1.36.3", False),  # the next start would go back
        ("", "1.37.2", False),
        ("1.37.2", "", False),
    ],
)
def test_a_node_is_done_when_it_runs_the_version_and_would_start_it_again(
    running: str, selected: str, *, done: bool
) -> None:
    def spoil(raw: dict[str, dict[str, dict[str, object]]]) -> None:
        host(raw, "cp1")["components"]["kube-apiserver"] = {"running": running, "selected": selected}

    assert has(spoiled(spoil), "cp1", "kube-apiserver", NEXT) is done


def test_only_these_nodes_are_touched_and_controllers_wait_for_all_api_servers() -> None:
    found = plan(at(), NEXT, only=frozenset({"cp1"}))
    assert [(each.components, each.nodes) for each in found.rounds] == [
        (("etcd",), ("cp1",)),
        (("kube-apiserver",), ("cp1",)),
    ]
    assert found.left == ("Upgrade the controllers",)
    rest = at(cp2_kube_apiserver="1.37.2", cp3_kube_apiserver="1.37.2")
    found = plan(rest, NEXT, only=frozenset({"cp1"}))
    assert [each.components for each in found.rounds][-1] == ("kube-controller-manager", "kube-scheduler")
    assert found.left == ()


def test_nothing_is_left_to_do_when_all_run_the_target() -> None:
    snapshot = at("1.37.2", "3.7.3")
    assert all(todo(each, snapshot) == () for each in passes(snapshot, NEXT))


# What forbids it


@pytest.mark.parametrize("component", COMPONENTS[1:])
def test_a_minor_is_not_skipped_by_any_component(component: str) -> None:
    odd = {f"cp2_{component.replace('-', '_')}": "1.35.4"}
    assert rules(plan(at(**odd), NEXT)) == {("skip", "cp2")}


@pytest.mark.parametrize("component", COMPONENTS[1:])
def test_kubernetes_does_not_go_back_a_minor(component: str) -> None:
    odd = {f"cp3_{component.replace('-', '_')}": "1.37.2"}
    found = plan(at(**odd), target("1.36.3"))
    assert rules(found) == {("downgrade", "cp3")}
    assert "--rollback-safe" in found.refusals[0].hint


def test_a_patch_may_be_taken_back() -> None:
    found = plan(at("1.36.5", "3.6.18"), target("1.36.3", "3.6.16"))
    assert found.refusals == ()
    assert len(found.rounds) == 3


def test_etcd_does_not_go_back_a_minor_and_does_not_skip_one() -> None:
    assert rules(plan(at(cp1_etcd="3.7.3"), target("1.36.3", "3.6.16"))) == {("downgrade", "cp1")}
    assert rules(plan(at(cp1_etcd="3.5.26"), NEXT)) == {("skip", "cp1")}


@pytest.mark.parametrize(("now", "refused"), [("3.6.10", True), ("3.6.11", False), ("3.6.16", False)])
def test_etcd_needs_a_patch_that_may_become_the_next_minor(now: str, *, refused: bool) -> None:
    found = plan(at(cp2_etcd=now), NEXT)
    assert rules(found) == ({("etcd.floor", "cp2")} if refused else set())
    assert all("--etcd 3.6.16" in refusal.hint for refusal in found.refusals)


def test_an_old_etcd_may_be_brought_to_the_floor() -> None:
    assert plan(at(etcd="3.6.5"), target("1.36.3", "3.6.16")).refusals == ()


@cases(
    ("kubelet", "refused"),
    [
        ("1.33.0", True),
        ("1.34.9", False),
        ("1.36.3", False),
        ("1.37.9", False),
        ("1.38.0", True),
        ("1.34.1+k3s1", False),
    ],
)
def test_kubelets_must_be_within_the_skew_of_the_target(kubelet: str, *, refused: bool) -> None:
    found = plan(at(), NEXT, outside=Outside({"worker-1": kubelet, "worker-2": "1.36.0"}))
    assert rules(found) == ({("kubelets", "")} if refused else set())
    assert all("worker-1" in refusal.text for refusal in found.refusals)


def test_flags_that_the_target_does_not_take_are_told_with_the_variable() -> None:
    why = {"etcd": "flag provided but not defined: -experimental-x", "kube-scheduler": "unknown"}
    found = plan(at(), NEXT, outside=Outside(None, why))
    assert [(refusal.rule, refusal.hint) for refusal in found.refusals] == [
        ("flags", "Look at etcd_extra_args."),
        ("flags", "Look at kube_scheduler_extra_args and cluster_feature_gates."),
    ]
    assert "-experimental-x" in found.refusals[0].text


def test_a_node_that_cannot_be_asked_is_unknown_and_blocks() -> None:
    found = plan(at("1.36.3", "3.6.16", silence("cp3")), NEXT)
    assert ("known", "cp3") in rules(found)
    assert all(refusal.unknown for refusal in found.refusals if refusal.rule == "known")


def test_an_unhealthy_cluster_is_not_begun_with() -> None:
    def sick(raw: dict[str, dict[str, dict[str, object]]]) -> None:
        host(raw, "cp3")["probes"]["readyz"]["status"] = 500

    assert ("gate: api.ready", "cp3") in rules(plan(at("1.36.3", "3.6.16", sick), NEXT))


def test_a_node_that_is_sick_in_the_middle_of_an_upgrade_is_the_next_one() -> None:
    def sick(raw: dict[str, dict[str, dict[str, object]]]) -> None:
        host(raw, "cp1")["probes"]["readyz"]["status"] = 500

    found = plan(at("1.36.3", "3.7.3", sick), NEXT)
    assert found.rounds[0].nodes[0] == "cp1"
    assert found.refusals == (), "it is the change that mends it"


@pytest.mark.parametrize(("old", "new"), [("1.35", "1.36"), ("1.36", "1.37")])
def test_every_minor_of_the_table_may_become_the_next_one(old: str, new: str) -> None:
    rows = version_table().minors
    snapshot = at(str(rows[old].kubernetes), str(rows[old].etcd))
    assert plan(snapshot, target_of(SPEC, snapshot, to=new)).refusals == ()


# What bootstrap does with a cluster of another version


def test_bootstrap_takes_a_cluster_of_the_inventorys_version() -> None:
    refuse_other_versions(at())


@cases("component", COMPONENTS)
@cases(("running", "selected"), [("1.30.0", "1.30.0"), ("", "1.30.0")])
def test_bootstrap_refuses_a_cluster_of_another_version(component: str, running: str, selected: str) -> None:
    snapshot = at()
    facts = snapshot.nodes["cp3"]
    assert facts.host is not None
    components = {**facts.host.components, component: Component(running, selected)}
    nodes = {**snapshot.nodes, "cp3": replace(facts, host=replace(facts.host, components=components))}
    with pytest.raises(Refused, match=f"{component} is 1.30.0, and the inventory asks for") as refused:
        refuse_other_versions(replace(snapshot, nodes=nodes))
    assert (refused.value.node, "cpkit upgrade rolling" in refused.value.hint) == ("cp3", True)


def test_bootstrap_takes_machines_on_which_nothing_was_started() -> None:
    snapshot = at()
    hosts = {name: facts.host for name, facts in snapshot.control_plane.items()}
    bare = {
        name: replace(snapshot.nodes[name], host=replace(found, components={}))
        for name, found in hosts.items()
        if found
    }
    refuse_other_versions(replace(snapshot, nodes={**snapshot.nodes, **bare}))
