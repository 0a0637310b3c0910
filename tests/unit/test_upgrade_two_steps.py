"""Upgrades in two steps on paper: what emulates what, what may be taken back, and what must not."""

from dataclasses import replace

import pytest

from cpkit.errors import Refused, UsageError
from cpkit.facts.snapshot import Snapshot
from cpkit.health import judge
from cpkit.health.standing import refuse_other_versions
from cpkit.rolling import todo
from cpkit.upgrade import Target, downgrade_of, final_target, goes_back, passes, plan, target_before, target_of
from tests.unit.test_upgrade import SPEC, at, rules, target

SAFE = "1.37.2 as 1.36"
BEFORE = "1.36.3/3.6.14"
AFTER = SPEC.model_copy(update={"cluster_kubernetes_version": "1.37.2", "cluster_emulated_version": "1.36"})
NEW = target("1.37.2", emulates="1.36")


def safe(**odd: str) -> Snapshot:
    return at(SAFE, before=BEFORE, **odd)


# The first step


def test_the_first_step_emulates_the_minor_that_runs_and_leaves_etcd_alone() -> None:
    assert target_of(SPEC, at(), to="1.37", rollback_safe=True) == NEW
    assert target_of(SPEC, at(), to="1.37", etcd="3.7.3", rollback_safe=True).etcd.series == "3.7"
    assert [each.components[0] for each in plan(at(), NEW).rounds] == ["kube-apiserver", "kube-controller-manager"]
    assert plan(at(), NEW).refusals == ()


@pytest.mark.parametrize("half", [{"cp1_kube_apiserver": SAFE}, {"cp2_kube_scheduler": SAFE}])
def test_a_first_step_that_was_cut_off_goes_on_with_the_flag_and_without_it(half: dict[str, str]) -> None:
    assert target_of(SPEC, at(**half), to="1.37", rollback_safe=True) == NEW
    if "cp1_kube_apiserver" in half:
        assert target_of(SPEC, at(**half), to="1.37").emulates == "1.36"
    assert plan(at(**half), NEW).refusals == ()


def test_a_patch_of_an_upgrade_that_is_not_final_stays_so() -> None:
    assert target_of(AFTER, safe(), to="1.37.3") == target("1.37.3", emulates="1.36")


def test_only_a_new_minor_can_be_made_in_two_steps() -> None:
    with pytest.raises(UsageError, match="for a new minor"):
        target_of(SPEC, at(), to="1.36.4", rollback_safe=True)
    assert ("emulation", "cp2") in rules(plan(at(cp2_kube_apiserver="1.37.2"), NEW))


def test_the_next_minor_waits_until_the_one_before_is_final() -> None:
    assert {rule for rule, _ in rules(plan(safe(), target("1.38.0")))} == {"emulation"}


@pytest.mark.parametrize(
    ("now", "would", "done"), [("1.36", "1.36", True), ("", "1.36", False), ("1.36", "", False), ("", "", False)]
)
def test_a_node_is_done_when_it_emulates_and_would_again(now: str, would: str, *, done: bool) -> None:
    snapshot = at("1.37.2")
    found = snapshot.nodes["cp1"].host
    assert found is not None
    for component in ("kube-controller-manager", "kube-scheduler"):
        part = found.components[component]
        found.components[component] = type(part)(part.running, part.selected, now, would)
    assert passes(snapshot, NEW)[-1].done(snapshot, "cp1") is done


# The second step


def test_finalizing_keeps_the_versions_and_drops_the_emulation_api_servers_first() -> None:
    final = final_target(AFTER, safe())
    assert (final, final.variables()["cluster_emulated_version"]) == (target("1.37.2", verb="Finalize"), "")
    found = plan(safe(), final)
    assert [each.components[0] for each in found.rounds] == ["kube-apiserver", "kube-controller-manager"]
    assert (found.refusals, found.rounds[0].name) == ((), "Finalize kube-apiserver")


def test_what_is_final_on_all_nodes_is_still_to_be_written_into_the_inventory() -> None:
    assert plan(at("1.37.2"), final_target(AFTER, at("1.37.2"))).rounds == ()
    with pytest.raises(Refused, match="nothing is to be finalized"):
        final_target(SPEC, at())


def test_an_upgrade_that_is_half_done_is_not_finalized() -> None:
    with pytest.raises(Refused, match=r"1\.36\.3, 1\.37\.2") as refused:
        final_target(AFTER, safe(cp3_kube_scheduler="1.36.3"))
    assert "--rollback-safe" in refused.value.hint


# The way back


def test_the_way_back_leads_to_what_ran_before_and_turns_the_order_round() -> None:
    back = target_before(AFTER, safe())
    assert back == target("1.36.3", verb="Take back")
    found = plan(safe(), back)
    assert [each.components[0] for each in found.rounds] == ["kube-controller-manager", "kube-apiserver"]
    assert found.refusals == ()
    assert all(not todo(each, at()) for each in passes(at(), back))


@pytest.mark.parametrize("half", [{"cp1_kube_scheduler": "1.36.3"}, {"cp3_kube_apiserver": "1.36.3"}])
def test_a_way_back_that_was_cut_off_goes_on(half: dict[str, str]) -> None:
    assert target_before(AFTER, safe(**half)) == target("1.36.3", verb="Take back")
    assert plan(safe(**half), target_before(AFTER, safe(**half))).refusals == ()


def test_a_way_back_that_is_done_goes_no_further() -> None:
    assert target_before(AFTER, at(before=BEFORE)).kubernetes == target("1.36.3").kubernetes


def test_what_has_behaved_like_itself_is_not_taken_back() -> None:
    found = plan(safe(cp2_kube_apiserver="1.37.2"), target("1.36.3", verb="Take back"))
    assert rules(found) == {("downgrade", "cp2")}
    assert "cpkit restore etcd" in found.refusals[0].hint


def test_a_minor_goes_back_by_rollback_alone() -> None:
    found = plan(safe(), target("1.36.3"))
    assert {each.hint for each in found.refusals} == {"It emulates 1.36, so it can: cpkit upgrade rollback"}


def test_a_patch_goes_back_to_what_the_nodes_were_upgraded_from() -> None:
    spec = SPEC.model_copy(update={"cluster_kubernetes_version": "1.36.5"})
    snapshot = at("1.36.5", before="1.36.4/")
    assert target_before(spec, snapshot) == target("1.36.4", verb="Take back")
    assert plan(snapshot, target_before(spec, snapshot, to="1.36.3")).refusals == ()
    for before in ("", "1.36.5", "1.37.2", "1.35.4"):  # as after an attempt that failed, or after a way back
        with pytest.raises(UsageError, match="no node was upgraded from"):
            target_before(spec, at("1.36.5", before=f"{before}/"))


# etcd on the way back


def test_etcd_goes_back_with_kubernetes_if_its_minor_is_not_the_one_that_goes_with_it() -> None:
    snapshot = at(SAFE, "3.7.3", before="1.36.3/3.6.16")
    back = target_before(AFTER, snapshot)
    assert back == target("1.36.3", "3.6.16", verb="Take back")
    found = plan(snapshot, back)
    assert [each.components[0] for each in found.rounds][-1] == "etcd"
    assert (found.refusals, goes_back(snapshot, back), goes_back(snapshot, NEW)) == ((), True, False)


def test_etcd_still_goes_back_when_a_run_was_cut_off_after_kubernetes() -> None:
    snapshot = at("1.36.3", "3.7.3", before="1.36.3/3.6.16")
    assert target_before(AFTER, snapshot) == target("1.36.3", "3.6.16", verb="Take back")


def test_etcd_stays_when_only_a_patch_of_kubernetes_goes_back() -> None:
    spec = SPEC.model_copy(update={"cluster_kubernetes_version": "1.36.5"})
    snapshot = at("1.36.5", "3.7.3", before="1.36.3/3.6.16")
    assert target_before(spec, snapshot) == target("1.36.3", "3.7.3", verb="Take back")


def test_etcd_skips_no_minor_on_its_way_back() -> None:
    assert ("downgrade", "cp1") in rules(plan(at(etcd="3.8.0"), target("1.36.3", "3.6.16", verb="Take back")))


def test_a_downgrade_that_does_not_lead_to_the_target_is_cancelled() -> None:
    snapshot = downgrading(at(etcd="3.7.3"), "3.6.0")
    assert downgrade_of(snapshot) == "3.6"
    assert plan(snapshot, target("1.36.3", "3.7.3")).cancels == "3.6"
    assert plan(snapshot, target("1.36.3", "3.7.3")).todo
    assert not plan(snapshot, target("1.36.3", "3.6.16", verb="Take back")).cancels


def downgrading(snapshot: Snapshot, to: str) -> Snapshot:
    statuses = {name: replace(status, downgrade=to) for name, status in snapshot.etcd.statuses.items()}
    return replace(snapshot, etcd=replace(snapshot.etcd, statuses=statuses))


# What others are told


def test_health_tells_of_an_upgrade_that_is_not_final() -> None:
    def told(snapshot: Snapshot, wanted: str) -> list[tuple[str, str]]:
        planned = replace(snapshot, plan=replace(snapshot.plan, emulates=wanted))
        return [(each.level, each.text) for each in judge(planned, ["api.emulation"])]

    assert told(at(), "") == [("ok", "every component behaves like the version it is")]
    ((level, text),) = told(safe(), "1.36")
    assert (level, "not finalized" in text) == ("warn", True)
    assert [level for level, _ in told(safe(cp1_kube_scheduler="1.36.3"), "")] == ["warn", "warn"]


def test_bootstrap_changes_no_emulation() -> None:
    with pytest.raises(Refused, match="behaves like"):
        refuse_other_versions(safe())


def test_a_target_says_what_it_behaves_like() -> None:
    assert str(Target(NEW.kubernetes, NEW.etcd, "1.36")) == "Kubernetes 1.37.2 as 1.36, etcd 3.6.16"
