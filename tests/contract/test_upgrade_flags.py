"""Whether another version takes the inventory's flags is asked of its real binaries."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cpkit import artifacts
from cpkit.inventory import Cluster, load
from cpkit.operations.accepting import unaccepted
from cpkit.upgrade import Target
from cpkit.versions import version_table


@pytest.fixture(scope="module")
def bundle() -> artifacts.Bundle:
    row = version_table().minors[version_table().default]
    return artifacts.ensure(row.kubernetes, row.etcd)


def cluster(**variables: Any) -> Cluster:
    example = load(Path(__file__).parents[2] / "inventories" / "example")
    return replace(example, spec=example.spec.model_copy(update=variables))


@pytest.mark.parametrize(
    ("variables", "component", "says"),
    [
        ({"etcd_extra_args": {"no-such-flag": "1"}}, "etcd", "flag provided but not defined: -no-such-flag"),
        ({"kube_apiserver_extra_args": {"insecure-port": "0"}}, "kube-apiserver", "unknown flag: --insecure-port"),
        ({"kube_scheduler_extra_args": {"v": "loud"}}, "kube-scheduler", 'invalid argument "loud"'),
        ({"cluster_feature_gates": {"NoSuchGate": True}}, "kube-apiserver", "unrecognized feature gate: NoSuchGate"),
        (
            {"cluster_feature_gates": {"NoSuchGate": True}},
            "kube-controller-manager",
            "unrecognized feature gate: NoSuchGate",
        ),
    ],
)
def test_flags_and_gates_that_are_gone_are_told_by_the_binary(
    bundle: artifacts.Bundle, variables: dict[str, Any], component: str, says: str
) -> None:
    found = unaccepted(cluster(**variables), Target(bundle.kubernetes, bundle.etcd), bundle)
    assert says in found[component]


def test_flags_that_are_known_are_no_reason(bundle: artifacts.Bundle) -> None:
    known = cluster(
        etcd_extra_args={"snapshot-count": "20000"},
        kube_apiserver_extra_args={"audit-log-maxage": "90", "v": "3"},
        kube_controller_manager_extra_args={"node-monitor-period": "2s"},
        cluster_feature_gates={"AllAlpha": False},
    )
    assert unaccepted(known, Target(bundle.kubernetes, bundle.etcd), bundle) == {}


def test_nothing_is_asked_when_the_inventory_adds_nothing(bundle: artifacts.Bundle) -> None:
    assert unaccepted(cluster(), Target(bundle.kubernetes, bundle.etcd), replace(bundle, components={})) == {}
