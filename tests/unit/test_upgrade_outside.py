"""What an upgrade learns from the API, from disks and from earlier runs: on paper."""

from dataclasses import replace
from typing import Any

import pytest

from cpkit.facts.host import Disk
from cpkit.facts.snapshot import Snapshot
from cpkit.upgrade import Outside, advice, backup_age, expected, lasting, plan
from cpkit.upgrade.outside import Hook, Requested, hooks_in, requested_in, stored_in
from tests.unit.cases import cases
from tests.unit.test_upgrade import NEXT, at

METRICS = """\
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="flowcontrol.apiserver.k8s.io",removed_release="1.37",resource="flowschemas",\
subresource="",version="v1beta3"} 1
apiserver_requested_deprecated_apis{group="old.k8s.io",removed_release="1.38",resource="things",version="v1"} 0
"""


def configuration(**changes: Any) -> dict[str, Any]:
    hook = {
        "name": "all.example.org",
        "clientConfig": {"service": {"namespace": "guard", "name": "judge"}},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"]}],
        "failurePolicy": "Fail",
        **changes,
    }
    return {"metadata": {"name": "guard"}, "webhooks": [hook]}


def served(*, ready: bool | None = True, name: str = "judge") -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": name}
    return {"metadata": {"namespace": "guard", "labels": labels}, "endpoints": [{"conditions": {"ready": ready}}]}


def test_deprecated_versions_that_were_asked_for_are_read_from_the_metrics() -> None:
    assert list(requested_in(METRICS)) == [
        Requested("v1 endpoints", ""),
        Requested("flowcontrol.apiserver.k8s.io/v1beta3 flowschemas", "1.37"),
    ]


def test_only_a_version_that_the_target_lacks_is_told() -> None:
    asked = Outside(requested=(Requested("a/v1 b", "1.37"), Requested("c/v1 d", "1.38"), Requested("v1 e", "")))
    (line,) = advice(at(), NEXT, asked)
    assert "a/v1 b, which 1.37 does not have" in line


@cases(
    ("changes", "slices", "found"),
    [
        ({}, [], True),
        ({}, [served(ready=False)], True),
        ({}, [served(name="other")], True),
        ({}, [served()], False),
        ({}, [served(ready=None)], False),  # not said counts as ready, as for Kubernetes itself
        ({"failurePolicy": "Ignore"}, [], False),
        ({"rules": [{"apiGroups": ["example.org"]}]}, [], False),
        ({"rules": [{"apiGroups": ["*"]}]}, [], True),
        ({"clientConfig": {"url": "https://192.0.2.7"}}, [], False),
    ],
)
def test_a_webhook_blocks_if_it_must_be_asked_and_nobody_serves_it(
    changes: dict[str, Any], slices: list[dict[str, Any]], *, found: bool
) -> None:
    told = list(hooks_in([configuration(**changes)], slices))
    assert told == ([Hook("guard: all.example.org", "guard/judge", everything=True)] if found else [])


def test_a_webhook_for_some_objects_alone_is_told_and_one_for_all_forbids_the_upgrade() -> None:
    narrow = configuration(namespaceSelector={"matchLabels": {"guarded": "yes"}})
    outside = Outside(hooks=tuple(hooks_in([narrow], [])))
    assert plan(at(), NEXT, outside=outside).refusals == ()
    assert ["guard/judge" in line for line in advice(at(), NEXT, outside)] == [True]
    outside = Outside(hooks=tuple(hooks_in([configuration()], [])))
    assert [refusal.rule for refusal in plan(at(), NEXT, outside=outside).refusals] == ["webhooks"]


def test_a_crd_with_a_stored_version_that_it_lost_is_told() -> None:
    definition = {"metadata": {"name": "things.example.org"}, "spec": {"versions": [{"name": "v1"}]}}
    assert list(stored_in([definition])) == []
    assert list(stored_in([{**definition, "status": {"storedVersions": ["v1", "v1beta1"]}}])) == [
        "things.example.org (v1beta1)"
    ]


@pytest.mark.parametrize(("free", "installed", "refused"), [(900, (), False), (800, (), True), (1, ("1.37.2",), False)])
def test_binaries_need_room_unless_they_are_there(free: int, installed: tuple[str, ...], *, refused: bool) -> None:
    snapshot = with_room(at(), free << 20, installed)
    found = plan(snapshot, NEXT, outside=Outside(needed=800 << 20))
    assert [refusal.rule for refusal in found.refusals] == (["room"] if refused else [])


def with_room(snapshot: Snapshot, free: int, installed: tuple[str, ...]) -> Snapshot:
    facts = snapshot.nodes["cp1"]
    assert facts.host is not None
    part = replace(facts.host.components["kube-apiserver"], installed=installed)
    components = {**facts.host.components, "kube-apiserver": part}
    host = replace(facts.host, room=Disk("/opt/cpkit", 10 << 30, free), components=components)
    return replace(snapshot, nodes={**snapshot.nodes, "cp1": replace(facts, host=host)})


@cases(("hours", "says"), [(None, "no backup"), (3.0, ""), (23.9, ""), (30.0, "30 h old"), (72.0, "3 days old")])
def test_an_old_backup_is_told(hours: float | None, says: str) -> None:
    told = backup_age(hours)
    assert says in told
    assert bool(told) == bool(says)


def test_a_plan_takes_as_long_as_its_turns_did() -> None:
    rounds = plan(at(), NEXT).rounds
    turns = {each.name: [10.0, 20.0, 90.0] for each in rounds}
    assert expected(rounds, turns) == 3 * 3 * 20.0
    assert expected(rounds, {rounds[0].name: [10.0]}) == 0.0


@cases(("seconds", "told"), [(3, "10 s"), (14, "10 s"), (76, "80 s"), (89.9, "90 s"), (90, "2 min"), (200, "3 min")])
def test_an_expected_time_is_told_as_exactly_as_it_is_known(seconds: float, told: str) -> None:
    assert lasting(seconds) == told
