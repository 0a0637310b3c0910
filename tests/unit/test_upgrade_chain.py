"""Several minors as a chain, and plans that are saved: on paper."""

import json
from dataclasses import replace

import pytest

from cpkit.errors import UsageError
from cpkit.facts.snapshot import Snapshot
from cpkit.inventory import ClusterSpec
from cpkit.upgrade import after, chain, drift, plan, read_saved, saved_of, target_of
from cpkit.versions import version_table
from tests.unit.test_upgrade import SPEC, at, target

ROWS = version_table().minors
OLD = SPEC.model_copy(update={"cluster_kubernetes_version": "1.35.4"})


def oldest() -> Snapshot:
    return at("1.35.4", "3.6.16")


# Chains


def test_a_chain_takes_every_minor_in_between_by_the_tables_patch() -> None:
    steps = chain(oldest(), target_of(OLD, oldest(), to="1.37"))
    assert steps == (target("1.36.3"), target("1.37.2", "3.7.3"))
    seen = oldest()
    for step in steps:
        found = plan(seen, step)
        assert found.refusals == ()
        assert found.rounds
        seen = after(seen, step)
    assert plan(seen, steps[-1]).rounds == ()


def test_a_chain_that_was_cut_off_goes_on_with_the_lowest() -> None:
    half = at("1.36.3", cp2_kube_scheduler="1.35.4")
    assert [str(step.kubernetes) for step in chain(half, target("1.37.2"))] == ["1.36.3", "1.37.2"]
    assert len(chain(at("1.36.3", cp2_kube_apiserver="1.37.2"), target("1.37.2"))) == 1


@pytest.mark.parametrize("etcd", ["3.6.16", "3.6.14"])
def test_a_chain_brings_etcd_no_further_than_its_end_and_never_back(etcd: str) -> None:
    first, last = chain(at("1.35.4", "3.6.14"), target("1.37.2", etcd))
    assert (str(first.etcd), str(last.etcd)) == (etcd, etcd)


def test_one_step_and_a_way_back_are_no_chains() -> None:
    for wanted in (target("1.36.4"), target("1.37.2"), target("1.35.4", verb="Take back")):
        assert chain(at(), wanted) == (wanted,)


def test_a_minor_that_the_table_lacks_is_no_step_and_so_it_is_refused() -> None:
    (only,) = chain(oldest(), target("1.39.0"))
    assert {refusal.rule for refusal in plan(oldest(), only).refusals} == {"skip"}


def test_two_minors_are_not_made_in_two_steps() -> None:
    with pytest.raises(UsageError, match="goes one minor") as refused:
        chain(oldest(), target_of(OLD, oldest(), to="1.37", rollback_safe=True))
    assert "--to 1.36 --rollback-safe" in refused.value.hint


# Saved plans


def saved_text(snapshot: Snapshot, spec: ClusterSpec = SPEC) -> str:
    return saved_of(plan(snapshot, target("1.37.2", emulates="1.36")), snapshot, spec, frozenset()).to_text()


def test_a_saved_plan_says_where_it_leads_and_comes_back_whole() -> None:
    found = read_saved(saved_text(at()))
    assert (found.to, found.etcd, found.rollback_safe, found.only) == ("1.37.2", "3.6.16", True, ())
    assert drift(found, at(), SPEC, (target("1.37.2", emulates="1.36"),)) == []


def test_what_is_no_plan_or_was_changed_is_the_users_mistake() -> None:
    body = json.loads(saved_text(at()))
    for text in ("", "[]", "{}", json.dumps({**body, "to": "1.38.0"}), json.dumps({**body, "schema": 2})):
        with pytest.raises(UsageError):
            read_saved(text)


def test_drift_is_named_piece_by_piece() -> None:
    found, steps = read_saved(saved_text(at())), (target("1.37.2", emulates="1.36"),)
    assert drift(found, at(cp2_etcd="3.6.15"), SPEC, steps) == ["etcd on cp2: 3.6.16 → 3.6.15"]
    other = SPEC.model_copy(update={"etcd_heartbeat_interval_ms": 150})
    assert drift(found, at(), other, steps) == ["inventory: etcd_heartbeat_interval_ms was changed"]
    etcd = at().etcd
    fewer = replace(at(), etcd=replace(etcd, members=etcd.members[:2]))
    assert [line.partition(":")[0] for line in drift(found, fewer, SPEC, steps)] == ["etcd members"]


def test_what_could_not_be_read_has_not_drifted() -> None:
    seen, steps = at(), (target("1.37.2", emulates="1.36"),)
    found = read_saved(saved_text(seen))
    nodes = {**seen.nodes, "cp1": replace(seen.nodes["cp1"], host=None, error="it is silent")}
    assert drift(found, replace(seen, nodes=nodes), SPEC, steps) == []
    assert drift(found, replace(seen, etcd=replace(seen.etcd, members=())), SPEC, steps) == []


def test_what_the_plan_itself_has_done_is_no_drift() -> None:
    found, steps = read_saved(saved_text(at())), (target("1.37.2", emulates="1.36"),)
    half = at(cp1_kube_apiserver="1.37.2 as 1.36")
    assert drift(found, half, SPEC, steps) == []
    written = SPEC.model_copy(
        update={
            "cluster_kubernetes_version": "1.37.2",
            "cluster_emulated_version": "1.36",
            "cluster_etcd_version": "3.6.16",
        }
    )
    assert drift(found, at("1.37.2 as 1.36"), written, steps) == []
    assert drift(found, at(cp1_kube_apiserver="1.37.2"), SPEC, steps) == ["kube-apiserver on cp1: 1.36.3 → 1.37.2"]
