"""Whose place each machine takes in a restore, and what never happens by accident."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cpkit.backup import Manifest, catalogue, open_store
from cpkit.backup.errors import NoSuchBackup
from cpkit.cli.restore import app
from cpkit.errors import UsageError
from cpkit.inventory import Cluster, load
from cpkit.operations.restore_places import choose, describe_places, misplaced, read_places, refuse_strangers
from tests.unit.cases import cases
from tests.unit.test_backup_retention import backup
from tests.unit.test_restore_plan import manifest as any_manifest

OLD = {"a1": "10.9.0.1", "a2": "10.9.0.2", "a3": "10.9.0.3"}


@cache
def cluster() -> Cluster:
    return load(Path(__file__).parents[2] / "inventories" / "lab")


def here() -> dict[str, str]:
    return {node.name: node.address for node in cluster().control_plane}


def alone() -> Cluster:
    return replace(cluster(), control_plane=cluster().control_plane[:1])


def manifest(nodes: dict[str, str] | None = None, *, of: str = "prod", endpoint: str = "10.9.0.9:6443") -> Manifest:
    return any_manifest(cluster=of, nodes=OLD if nodes is None else nodes, endpoint=endpoint)


def test_places_are_read_by_name_and_by_address() -> None:
    words = ["a1=cp2, a2=" + here()["cp3"], "a3=cp1"]
    assert read_places(cluster(), words) == {"a1": "cp2", "a2": "cp3", "a3": "cp1"}
    assert read_places(cluster(), []) == {}


@cases(
    ("words", "said"),
    [
        (["a1"], "'a1' is no pair"),
        (["a1="], "'a1=' is no pair"),
        (["=cp1"], "'=cp1' is no pair"),
        (["a1=cp1,"], "'' is no pair"),
        (["a1=10.1.1.1"], "'10.1.1.1' is no control-plane node"),
        (["a1=lb1"], "'lb1' is no control-plane node"),
        (["a1=cp1", "a1=cp2"], "a1 is given two places"),
        (["a1=cp1,a2=cp1"], "cp1 takes the places of both a1 and a2"),
    ],
)
def test_words_that_are_no_map_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_places(cluster(), words)


def test_a_name_and_its_address_are_one_node() -> None:
    with pytest.raises(UsageError, match="takes the places of both"):
        read_places(cluster(), [f"a1=cp1,a2={here()['cp1']}"])


def test_a_node_that_the_backup_does_not_know_is_refused() -> None:
    known = replace(backup(1), nodes=OLD)
    refuse_strangers({"a1": "cp1"}, known)
    with pytest.raises(UsageError, match="knows no node 'cp1'") as caught:
        refuse_strangers({"cp1": "cp1"}, known)
    assert "a1 (10.9.0.1), a2 (10.9.0.2) and a3 (10.9.0.3)" in caught.value.hint


def test_a_backup_that_does_not_tell_its_nodes_takes_any_map() -> None:
    refuse_strangers({"a1": "cp1"}, backup(1))
    for told, places in ((manifest({}), {"a1": "cp1"}), (manifest({}, of="lab"), {})):
        found = list(misplaced(cluster(), told, places))
        assert [(each.check, each.level) for each in found] == [("restore.place", "warn")]


# The backup's cluster and nodes, the map, and the check that forbids it ("" for none) with a part of its text.
JUDGED: list[tuple[str, str, dict[str, str], dict[str, str], str, str]] = [
    ("its own machines", "lab", here(), {}, "", ""),
    ("more machines before", "lab", here() | {"cp4": "10.9.0.4"}, {}, "", ""),
    ("another name", "prod", here(), {}, "restore.cluster", "the backup is of cluster prod"),
    ("another name, knowingly", "prod", here(), {"cp1": "cp1"}, "", ""),
    ("other machines", "lab", OLD, {}, "restore.place", "of other machines, a1 (10.9.0.1)"),
    ("another address", "lab", here() | {"cp3": "10.9.0.3"}, {}, "restore.place", "cp3 (10.203.0.13) is none of them"),
    ("another address, knowingly", "lab", here() | {"cp3": "10.9.0.3"}, {"cp3": "cp3"}, "", ""),
    ("other machines, knowingly", "prod", OLD, {"a1": "cp1", "a2": "cp2", "a3": "cp3"}, "", ""),
    ("one forgotten", "prod", OLD, {"a1": "cp1", "a2": "cp2"}, "restore.place", "no machine takes the place of a3"),
    ("from one to three", "prod", {"a1": "10.9.0.1"}, {"a1": "cp2"}, "", ""),
    ("a machine more, by accident", "lab", {"cp1": here()["cp1"]}, {}, "restore.place", "is none of them"),
    ("two places changed", "lab", here(), {"cp1": "cp2", "cp2": "cp1"}, "", ""),
    ("one place taken over", "lab", here(), {"cp1": "cp2"}, "restore.place", "takes the place of cp2, and cp1 takes"),
]


@cases(("of", "nodes", "places", "check", "text"), [each[1:] for each in JUDGED])
def test_who_may_take_whose_place(
    of: str, nodes: dict[str, str], places: dict[str, str], check: str, text: str
) -> None:
    found = list(misplaced(cluster(), manifest(nodes, of=of), places))
    assert [each.check for each in found] == ([check] if check else [])
    assert all(text in each.text and each.level == "fail" and "--map " in each.hint for each in found)


@pytest.mark.parametrize("nodes", [OLD, here(), {"a1": "10.9.0.1"}, here() | {"cp2": "10.9.0.2"}])
def test_the_words_that_a_refusal_suggests_are_taken(nodes: dict[str, str]) -> None:
    refused = list(misplaced(cluster(), manifest(nodes), {}))
    places = read_places(cluster(), [refused[0].hint.partition("--map ")[2]])
    assert places
    assert list(misplaced(cluster(), manifest(nodes), places)) == []


def test_three_machines_become_one() -> None:
    assert list(misplaced(alone(), manifest(), {"a2": "cp1"})) == []
    told = describe_places(alone(), manifest(), {"a2": "cp1"})
    assert "a2 10.9.0.2 → cp1 10.203.0.11" in told
    assert "a1 10.9.0.1 → nobody" in told


def test_the_plan_tells_of_another_endpoint_and_of_the_old_cluster() -> None:
    places = {"a1": "cp1", "a2": "cp2", "a3": "cp3"}
    told = describe_places(cluster(), manifest(), places)
    assert f"The endpoint was 10.9.0.9:6443 and is {cluster().endpoint}" in told
    assert "see that nothing of the old one runs any more" in told
    assert "endpoint" not in describe_places(cluster(), manifest(endpoint=str(cluster().endpoint)), places)
    assert describe_places(cluster(), manifest(here(), of="lab"), {}) == ""


def test_which_backup_is_the_latest(tmp_path: Path) -> None:
    def put(name: str, of: str) -> None:
        item = replace(backup(1, name=name), cluster=of, object=f"{name}.tar")
        (tmp_path / f"{name}.tar").write_bytes(bytes(item.size))
        catalogue.write(store, item)

    old, own = "prod-20310306T070809Z-r42", "lab-20310305T070809Z-r42"
    with open_store(str(tmp_path)) as store:
        with pytest.raises(NoSuchBackup, match="no backup of lab") as none:
            choose(store, catalogue.LATEST, cluster(), {})
        assert not none.value.hint
        put(old, "prod")
        with pytest.raises(NoSuchBackup) as other:
            choose(store, catalogue.LATEST, cluster(), {})
        assert "It holds backups of prod" in other.value.hint
        assert choose(store, catalogue.LATEST, cluster(), {"a1": "cp1"}).name == old
        put(own, "lab")
        assert choose(store, catalogue.LATEST, cluster(), {}).name == own
        assert choose(store, old, cluster(), {}).name == old
        with pytest.raises(UsageError, match="backups of lab and prod"):
            choose(store, catalogue.LATEST, cluster(), {"a1": "cp1"})


def test_a_wrong_map_is_refused_before_any_node_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("a node was asked")

    monkeypatch.setattr("cpkit.operations.restore.survey", asked)
    name = "prod-20310306T070809Z-r42"
    told = replace(backup(1, name=name), object=f"{name}.tar", sha256="0" * 64, manifest="0" * 64, nodes=OLD)
    (tmp_path / told.object).write_bytes(b"x")
    with open_store(str(tmp_path)) as store:
        catalogue.write(store, told)
    words = [
        "etcd",
        "-i",
        str(cluster().inventory.parent),
        "--from",
        str(tmp_path),
        "--backup",
        name,
        "--confirm",
        "lab",
    ]
    for wrong, said in {"a9=cp1": "knows no node 'a9'", "a1=10.1.1.1": "'10.1.1.1' is no control-plane node"}.items():
        done = CliRunner().invoke(app, [*words, "--map", wrong])
        assert isinstance(done.exception, UsageError)
        assert said in done.exception.message
