"""Versions written back into an inventory: a line is replaced, and everything else stays byte for byte."""

from pathlib import Path

import pytest

from cpkit.inventory import load
from cpkit.inventory.writing import write_versions

HOSTS = "all:\n  children:\n    control_plane:\n      hosts:\n        cp1: {ansible_host: 192.0.2.1}\n"
BASE = "# Ours.\ncluster_name: prod\ncluster_endpoint: 192.0.2.1\n"
WANTED = {"cluster_kubernetes_version": "1.37.2"}


@pytest.fixture
def variables(tmp_path: Path) -> Path:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "group_vars").mkdir()
    path = tmp_path / "group_vars" / "all.yml"
    path.touch(mode=0o640)
    return path


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("cluster_kubernetes_version: 1.36.3\n", "cluster_kubernetes_version: 1.37.2\n"),
        ('cluster_kubernetes_version: "1.36.3"  # ours\n', 'cluster_kubernetes_version: "1.37.2"  # ours\n'),
        ("", "cluster_kubernetes_version: 1.37.2\n"),
        (
            "# cluster_kubernetes_version: 1.35.4\nartifacts_source:   auto\n",
            "# cluster_kubernetes_version: 1.35.4\nartifacts_source:   auto\ncluster_kubernetes_version: 1.37.2\n",
        ),
    ],
)
def test_a_plain_line_is_replaced_or_added(variables: Path, before: str, after: str) -> None:
    variables.write_text(BASE + before)
    hosts = variables.parents[1] / "hosts.yml"
    assert write_versions(hosts, WANTED) == variables
    assert variables.read_text() == BASE + after
    assert str(load(hosts).spec.kubernetes) == "1.37.2"
    assert variables.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in variables.parent.iterdir()] == ["all.yml"]


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("", "1.36", 'cluster_emulated_version: "1.36"\n'),
        ('cluster_emulated_version: ""  # none\n', "1.36", 'cluster_emulated_version: "1.36"  # none\n'),
        ("cluster_emulated_version: '1.36'\n", "", "cluster_emulated_version: ''\n"),
    ],
)
def test_a_minor_stays_text_and_may_be_taken_away(variables: Path, before: str, value: str, after: str) -> None:
    variables.write_text(f"{BASE}cluster_kubernetes_version: 1.37.2\n{before}")
    hosts = variables.parents[1] / "hosts.yml"
    assert write_versions(hosts, {"cluster_emulated_version": value}) == variables
    assert variables.read_text() == f"{BASE}cluster_kubernetes_version: 1.37.2\n{after}"
    assert load(hosts).spec.cluster_emulated_version == value


@pytest.mark.parametrize("more", ["vars/other.yml", "control_plane.yml"])
def test_with_several_files_of_variables_it_is_left_to_the_user(variables: Path, more: str) -> None:
    variables.write_text(BASE)
    other = variables.parent / more
    other.parent.mkdir(exist_ok=True)
    other.write_text("{}\n")
    assert write_versions(variables.parents[1] / "hosts.yml", WANTED) is None
    assert variables.read_text() == BASE


def test_what_is_no_plain_line_is_left_to_the_user(variables: Path) -> None:
    text = f"{BASE}cluster_kubernetes_version: &version 1.36.3\n"
    variables.write_text(text)
    assert write_versions(variables.parents[1] / "hosts.yml", WANTED) is None
    assert variables.read_text() == text


def test_an_inventory_that_would_not_fit_is_as_it_was(variables: Path) -> None:
    variables.write_text(BASE)
    assert write_versions(variables.parents[1] / "hosts.yml", {"cluster_kubernetes_version": "1.99.0"}) is None
    assert variables.read_text() == BASE
