"""What forbids a restore before anything is stopped, and how one that was cut off is taken up."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cpkit.backup import Manifest, Part
from cpkit.backup.manifest import Source
from cpkit.backup.parts import part_name
from cpkit.errors import CpkitError, Refused, Unreachable, UsageError
from cpkit.facts.ground import STAGES, Ground, Marker, Room
from cpkit.inventory import Cluster, load
from cpkit.operations.restore_fresh import unbuilt
from cpkit.operations.restore_objections import COMPARED, objections, settings
from cpkit.operations.restore_plan import describe, miscounted
from cpkit.operations.restore_under_way import present, refuse_abort, refuse_other, under_way
from cpkit.pki.authorities import ENCRYPTION
from tests.unit.cases import cases

NAMES = ("cp1", "cp2", "cp3")
SIZE = 100 << 20
BACKUP = "lab-20310506T070809Z-r42"
DIGESTS = {path: f"{number:064x}" for number, path in enumerate(COMPARED, 1)}


@cache
def cluster() -> Cluster:
    return load(Path(__file__).parents[2] / "inventories" / "lab")


def manifest(**more: Any) -> Manifest:
    parts = tuple(Part(part_name(path), 1, digest) for path, digest in DIGESTS.items())
    fields: dict[str, Any] = {
        "cluster": "lab",
        "cluster_id": "abc",
        "created": datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC),
        "cpkit": "1",
        "kubernetes": "1.36.1",
        "etcd": "3.6.2",
        "storage_version": "3.6.0",
        "revision": 42,
        "compacted": 1,
        "key_revisions": 9,
        "consistent_index": 9,
        "term": 2,
        "source": Source("cp1", "1", leader=False, quorum=True, reason=""),
        "hashes": (),
        "resources": {"configmaps": 5, "events": 7},
        "parts": (*parts, Part("snapshot.db", SIZE, "f" * 64)),
    }
    return Manifest(**fields | more)


def ground(**more: Any) -> Ground:
    fields: dict[str, Any] = {
        "cluster": "lab",
        "digests": DIGESTS,
        "member": True,
        "data_size": SIZE,
        "data_disk": Room(1, 10 * SIZE),
        "snapshot_disk": Room(1, 10 * SIZE),
        "etcdutl": "3.6.16",
        "kubernetes": "1.36.3",
    }
    return Ground(**fields | more)


def grounds(**odd: Ground) -> dict[str, Ground]:
    return {name: odd.get(name, ground()) for name in NAMES}


def at(stage: str, *, restore: str = "id", backup: str = BACKUP) -> Ground:
    return ground(marker=Marker(restore, backup, stage, f"/var/lib/etcd.before-{restore}"))


def without(*names: str) -> tuple[Part, ...]:
    return tuple(part for part in manifest().parts if part.name not in names)


def test_nothing_stands_against_a_backup_of_this_cluster() -> None:
    assert objections(cluster(), manifest(), grounds(), None) == ()


# The refusal matrix: what is wrong, the check that says so, the node, and a part of the text.
REFUSALS: list[tuple[str, dict[str, Any], dict[str, Ground], tuple[str, str, str, str]]] = [
    ("older Kubernetes", {"kubernetes": "1.35.4"}, {}, ("fail", "restore.kubernetes", "", "1.35.4, older than")),
    ("newer Kubernetes", {"kubernetes": "1.37.2"}, {}, ("fail", "restore.kubernetes", "", "1.37.2, newer than")),
    ("unknown Kubernetes", {"kubernetes": ""}, {}, ("fail", "restore.kubernetes", "", "tells no version")),
    ("older etcd", {"etcd": "3.5.26"}, {}, ("fail", "restore.etcd", "", "etcd 3.5.26, older than")),
    ("newer etcd", {"etcd": "3.7.3"}, {}, ("fail", "restore.etcd", "", "etcd 3.7.3, newer than")),
    ("newer database", {"storage_version": "3.7.0"}, {}, ("fail", "restore.storage", "", "version 3.7, too new")),
    (
        "no encryption key",
        {"parts": without("encryption.yaml")},
        {},
        ("fail", "restore.keys", "", "the backup lacks the encryption keys"),
    ),
    (
        "no private key",
        {"parts": without("pki/ca.key", "pki/sa.key")},
        {},
        ("fail", "restore.keys", "", "the backup lacks pki/ca.key and pki/sa.key"),
    ),
    (
        "another CA",
        {},
        {"cp2": ground(digests=DIGESTS | {"/etc/kubernetes/pki/ca.crt": "0" * 64})},
        ("fail", "restore.keys", "cp2", "/etc/kubernetes/pki/ca.crt is another certificate than in the backup"),
    ),
    (
        "another key",
        {},
        {"cp2": ground(digests=DIGESTS | {"/etc/kubernetes/pki/etcd/ca.key": "0" * 64})},
        ("fail", "restore.keys", "cp2", "/etc/kubernetes/pki/etcd/ca.key is another key than in the backup"),
    ),
    (
        "another encryption key",
        {},
        {"cp3": ground(digests=DIGESTS | {ENCRYPTION: "0" * 64})},
        ("fail", "restore.keys", "cp3", "so its Secrets could not be read"),
    ),
    (
        "keys missing on a node",
        {},
        {"cp1": ground(digests=DIGESTS | {"/etc/kubernetes/pki/sa.key": ""})},
        ("fail", "restore.lacking", "cp1", "/etc/kubernetes/pki/sa.key is missing"),
    ),
    (
        "too little disk",
        {},
        {"cp1": ground(data_disk=Room(1, 3 * SIZE))},
        ("fail", "restore.disk", "cp1", "300 MiB free on etcd's disk, 428 MiB needed"),
    ),
    (
        "too little room for the snapshot",
        {},
        {"cp1": ground(snapshot_disk=Room(2, SIZE))},
        ("fail", "restore.disk", "cp1", "100 MiB free on the disk of /var/lib/cpkit, 228 MiB needed"),
    ),
    (
        "unreachable node",
        {},
        {"cp3": Ground(error="no route", hint="Look.")},
        ("unknown", "restore.reach", "cp3", "it cannot be asked: no route"),
    ),
    (
        "a node of another cluster",
        {},
        {"cp3": ground(cluster="prod")},
        ("fail", "restore.cluster", "cp3", "the node belongs to cluster prod"),
    ),
    ("no etcdutl", {}, {"cp3": ground(etcdutl="")}, ("fail", "restore.lacking", "cp3", "etcd is not installed")),
    (
        "another etcdutl",
        {},
        {"cp3": ground(etcdutl="3.7.3")},
        ("fail", "restore.binaries", "cp3", "etcd 3.7.3 is installed"),
    ),
    (
        "another API server",
        {},
        {"cp3": ground(kubernetes="1.37.2")},
        ("fail", "restore.binaries", "cp3", "Kubernetes 1.37.2 is installed"),
    ),
]


@cases(("fields", "odd", "expected"), [row[1:] for row in REFUSALS])
def test_the_refusal_matrix(
    fields: dict[str, Any], odd: dict[str, Ground], expected: tuple[str, str, str, str]
) -> None:
    found = objections(cluster(), manifest(**fields), grounds(**odd), None)
    level, check, node, text = expected
    assert [(each.level, each.check, each.node) for each in found] == [(level, check, node)]
    assert text in found[0].text
    assert found[0].blocks
    assert found[0].hint


def test_everything_that_is_wrong_is_told_at_once() -> None:
    odd = {"cp1": ground(data_disk=Room(1, 0)), "cp2": Ground(error="gone")}
    found = objections(cluster(), manifest(etcd="3.7.3"), grounds(**odd), None)
    assert {each.check for each in found} == {"restore.etcd", "restore.disk", "restore.reach"}


@pytest.mark.parametrize("flag", ["wal-dir", "data-dir"])
def test_data_in_a_place_of_its_own_is_not_restored(flag: str) -> None:
    spec = cluster().spec.model_copy(update={"etcd_extra_args": {flag: "/elsewhere"}})
    found = objections(replace(cluster(), spec=spec), manifest(), grounds(), None)
    assert [each.text for each in found] == [f"etcd_extra_args sets {flag}, and a restore knows etcd_data_dir alone"]


def test_a_backup_without_quorum_is_only_worth_a_warning() -> None:
    source = replace(manifest().source, quorum=False)
    found = objections(cluster(), manifest(source=source), grounds(), None)
    assert [(each.level, each.blocks) for each in found] == [("warn", False)]


def test_another_patch_is_no_obstacle() -> None:
    assert objections(cluster(), manifest(kubernetes="1.36.0", etcd="3.6.99"), grounds(), None) == ()


def test_room_that_a_cut_off_run_has_used_already_is_not_asked_for_again() -> None:
    full = {name: at("prepared") for name in NAMES}
    full = {name: replace(each, data_disk=Room(1, 0), snapshot_disk=Room(1, 0)) for name, each in full.items()}
    assert objections(cluster(), manifest(), full, under_way(full)) == ()
    begun = full | {"cp2": replace(at("begun"), data_disk=Room(1, 0))}
    assert [each.node for each in objections(cluster(), manifest(), begun, under_way(begun))] == ["cp2"]


def test_a_lost_node_is_left_out_while_the_others_are_a_majority() -> None:
    assert [node.name for node in present(cluster(), frozenset({"cp2"})).control_plane] == ["cp1", "cp3"]
    assert present(cluster(), frozenset()) == cluster()
    with pytest.raises(Refused, match="without cp1 and cp2 no majority of the 3"):
        present(cluster(), frozenset({"cp1", "cp2"}))
    with pytest.raises(UsageError, match="'cp9' is no control-plane node"):
        present(cluster(), frozenset({"cp9"}))


def test_nothing_is_under_way() -> None:
    assert under_way(grounds()) is None
    assert under_way({name: at("done") for name in NAMES}) is None
    refuse_other(None, BACKUP, grounds())


@cases("stage", STAGES[:-1])
def test_a_restore_that_was_cut_off_goes_on_with_the_same_backup_alone(stage: str) -> None:
    found = under_way(grounds(cp2=at(stage), cp1=at(stage), cp3=at(stage)))
    assert found is not None
    assert (found.restore, found.backup) == ("id", BACKUP)
    refuse_other(found, BACKUP, grounds())
    with pytest.raises(Refused, match=f"a restore of {BACKUP} is under way"):
        refuse_other(found, "lab-20310506T080000Z-r50", grounds())


@cases("stage", ["begun", "prepared", "held", "quiet", "stopped", "switched"])
def test_a_node_that_was_not_begun_yet_is_taken_along(stage: str) -> None:
    odd = grounds(cp2=at(stage))
    found = under_way(odd)
    assert found is not None
    assert found.stages == {"cp1": "", "cp2": stage, "cp3": ""}
    refuse_other(found, BACKUP, odd)


@pytest.mark.parametrize("stage", ["committed", "started", "serving", "done"])
def test_a_node_that_lost_its_part_is_not_given_a_second_first_vote(stage: str) -> None:
    odd = grounds(cp1=at("committed"), cp2=at(stage))
    found = under_way(odd)
    with pytest.raises(Refused, match="this node has lost its part in it") as caught:
        refuse_other(found, BACKUP, odd)
    assert caught.value.node == "cp3"


def test_nodes_that_are_done_belong_to_the_restore_that_is_not() -> None:
    odd = grounds(cp1=at("serving"), cp2=at("done"), cp3=at("done"))
    found = under_way(odd)
    assert found is not None
    assert found.everywhere("serving")
    refuse_other(found, BACKUP, odd)


def test_several_restores_are_never_mixed() -> None:
    with pytest.raises(Refused, match=r"cp1 of .* and cp2 of other"):
        under_way(grounds(cp1=at("begun"), cp2=at("begun", restore="x", backup="other")))


def test_one_that_is_taken_back_goes_no_further() -> None:
    odd = grounds(cp1=at("aborting"), cp2=at("switched"), cp3=at("switched"))
    found = under_way(odd)
    with pytest.raises(Refused, match="is being taken back"):
        refuse_other(found, BACKUP, odd)
    assert refuse_abort(found, odd).restore == "id"


@cases("stage", ["begun", "prepared", "held", "quiet", "stopped", "switched"])
def test_there_is_a_way_back_until_etcd_may_have_started(stage: str) -> None:
    odd = grounds(cp1=at(stage), cp2=at("begun"))
    assert refuse_abort(under_way(odd), odd).backup == BACKUP


@cases(
    ("odd", "kind", "told"),
    [
        ({}, UsageError, "no restore is under way"),
        ({"cp1": at("done")}, UsageError, "no restore is under way"),
        ({"cp1": at("committed"), "cp2": at("switched")}, Refused, "there is no way back"),
        ({"cp1": at("done"), "cp2": at("serving")}, Refused, "there is no way back"),
        ({"cp1": at("switched"), "cp3": Ground(error="gone")}, Unreachable, "is not known: gone"),
    ],
)
def test_there_is_no_way_back(odd: dict[str, Ground], kind: type[CpkitError], told: str) -> None:
    found = grounds(**odd)
    with pytest.raises(kind, match=told):
        refuse_abort(under_way(found), found)


def test_a_refused_way_back_says_where_the_old_data_is() -> None:
    found = {name: at("started") for name in NAMES}
    with pytest.raises(Refused) as caught:
        refuse_abort(under_way(found), found)
    assert "cp1:/var/lib/etcd.before-id, cp2:/var/lib/etcd.before-id and cp3:" in caught.value.hint


def test_the_plan_says_what_is_undone_and_how_far_it_has_come() -> None:
    plan = describe(cluster(), manifest(), BACKUP, grounds(), None)
    assert "What was written since 2031-05-06 07:08:09 UTC is undone" in plan
    assert "12 keys" in plan
    odd = grounds(cp2=at("switched"))
    assert "cp2  has come to: switched" in describe(cluster(), manifest(), BACKUP, odd, under_way(odd))
    again = {name: at("done") for name in NAMES}
    assert "were restored from this backup before" in describe(cluster(), manifest(), BACKUP, again, under_way(again))


@cases(
    ("counts", "wrong"),
    [
        ({"configmaps": 5, "events": 7}, ()),
        ({"configmaps": 5, "events": 3}, ()),  # they expire
        ({"configmaps": 5}, ()),
        ({"configmaps": 5, "events": 8}, ("events: 8 of 7",)),
        ({"configmaps": 4, "events": 7}, ("configmaps: 4 of 5",)),
        ({"events": 7}, ("configmaps: 0 of 5",)),
        ({"configmaps": 5, "events": 7, "pods": 1}, ("pods: 1 of 0",)),
    ],
)
def test_objects_are_counted(counts: dict[str, int], wrong: tuple[str, ...]) -> None:
    assert miscounted(manifest(), counts) == wrong
    assert miscounted(manifest(resources=None), counts) == ()


EMPTY = Ground(digests=dict.fromkeys(COMPARED, ""), data_disk=Room(1, 10 * SIZE), snapshot_disk=Room(1, 10 * SIZE))


def test_machines_that_never_ran_etcd_are_built_first() -> None:
    fresh = dict.fromkeys(NAMES, EMPTY)
    assert unbuilt(fresh)
    assert objections(cluster(), manifest(), fresh, None, unbuilt=True) == ()
    keyed = {name: replace(EMPTY, digests=DIGESTS, cluster="lab") for name in NAMES}
    assert unbuilt(keyed | {"cp1": EMPTY})  # cut off after the keys
    assert not unbuilt(fresh | {"cp1": ground()})
    assert not unbuilt(fresh | {"cp1": Ground(error="gone")})
    assert not unbuilt(grounds())
    assert not unbuilt({name: ground(member=False) for name in NAMES})  # all is there but the data


def test_what_is_wrong_on_fresh_machines_counts_all_the_same() -> None:
    odd = dict.fromkeys(NAMES, EMPTY)
    odd["cp1"] = replace(EMPTY, digests=dict(EMPTY.digests) | {"/etc/kubernetes/pki/ca.crt": "0" * 64})
    odd["cp2"] = replace(EMPTY, cluster="prod")
    found = objections(cluster(), manifest(), odd, None, unbuilt=True)
    assert [(each.check, each.node) for each in found] == [("restore.keys", "cp1"), ("restore.cluster", "cp2")]


def test_settings_that_the_data_hangs_on_must_be_the_same() -> None:
    issuer = "--service-account-issuer=https://kubernetes.default.svc.cluster.local \\"
    unit = f"ExecStart=/x \\\n  --service-cluster-ip-range={{}} \\\n  {issuer}\n  --profiling=false\n"
    assert settings(cluster(), unit.format("10.96.0.0/12")) == ()
    assert settings(cluster(), "") == ()
    found = settings(cluster(), unit.format("10.7.0.0/16"))
    assert [each.text for each in found] == [
        "the backup's API server had --service-cluster-ip-range=10.7.0.0/16, the inventory makes it 10.96.0.0/12"
    ]
