"""Which leaves are renewed and why, and that the plan and the play on the node say the same."""

import datetime as dt
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cpkit.errors import Unreachable
from cpkit.facts.certificates import parse
from cpkit.facts.host import Host, Pem
from cpkit.facts.snapshot import EtcdFacts, NodeFacts, Plan, Snapshot
from cpkit.inventory import Cluster, load
from cpkit.journal import open_run
from cpkit.operations.leaves import Due, Target, due, identity, replaced
from cpkit.operations.rotation import OPERATION, Options, describe, plan
from cpkit.pki import Authorities, create, leaf_files, node_files
from cpkit.pki.certificates import certificate_to_pem, issue, profile_of
from cpkit.pki.keys import key_from_pem, key_to_pem, new_key
from cpkit.pki.leaves import ADMIN, NAMES
from cpkit.pki.node import embedded_credentials
from cpkit.pki.renewal import MISFITS, Held, Renewal

DAY = 86400.0
PKI = "/etc/kubernetes/pki"
NODES = ("cp1", "cp2", "cp3")
Files = dict[str, str]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    folder = tmp_path_factory.mktemp("inventory")
    hosts = ", ".join(f"{name}: {{ansible_host: 10.0.0.1{name[2]}}}" for name in NODES)
    (folder / "hosts.yml").write_text(f"all: {{children: {{control_plane: {{hosts: {{{hosts}}}}}}}}}\n")
    return described(folder)


def described(folder: Path, **variables: Any) -> Cluster:
    (folder / "group_vars").mkdir(exist_ok=True)
    lines = {"cluster_name": "prod", "cluster_endpoint": "api.example.org", **variables}
    (folder / "group_vars" / "all.yml").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    return load(folder)


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return create(key_type="ecdsa-p256", ca_days=3650)


@pytest.fixture(scope="module")
def laid_down(cluster: Cluster, authorities: Authorities) -> dict[str, Files]:
    """What lies on each node after a bootstrap."""
    nodes = {node.name: NodeFacts(node.name, node.role, node.address) for node in cluster.control_plane}
    return {
        name: {file.path: file.content for file in node_files(identity(cluster, facts), authorities, {})}
        for name, facts in nodes.items()
    }


def seen(cluster: Cluster, nodes: dict[str, Files], *, after: float = 0.0, silent: tuple[str, ...] = ()) -> Snapshot:
    """A snapshot of nodes that hold these files, some days from now."""
    now = dt.datetime.now(dt.UTC).timestamp() + after * DAY
    plan = Plan.of(cluster)
    facts = {name: NodeFacts(name, "control_plane", plan.control_plane[name], error="silent") for name in NODES}
    for name, files in nodes.items():
        if name not in silent:
            facts[name] = replace(facts[name], error="", host=Host(), certificates=parsed(pems(files)))
    return Snapshot(now, 0.1, plan, facts, EtcdFacts())


parsed = cache(parse)


def pems(files: Files) -> tuple[Pem, ...]:
    """As the agent reports them."""
    found = []
    for path, content in files.items():
        certificate, key = (
            embedded_credentials(content) if path == ADMIN else (content, files.get(path[:-3] + "key", ""))
        )
        if path == ADMIN or path.endswith(".crt"):
            found.append(Pem(path, certificate, pair(certificate, key)))
    return tuple(found)


@cache
def pair(certificate: str, key: str) -> str:
    if not key:
        return "absent"
    try:
        same = x509.load_pem_x509_certificate(certificate.encode()).public_key() == key_from_pem(key).public_key()
    except ValueError:
        return "unreadable"
    return "match" if same else "mismatch"


def names(target: Target) -> dict[str, dict[str, str]]:
    return {node: {name: each.why for name, each in leaves.items()} for node, leaves in target.nodes.items() if leaves}


def test_nothing_is_due_after_a_bootstrap(cluster: Cluster, laid_down: dict[str, Files]) -> None:
    assert names(due(cluster, seen(cluster, laid_down), Renewal())) == {}


def test_everything_is_renewed_on_demand(cluster: Cluster, laid_down: dict[str, Files]) -> None:
    target = due(cluster, seen(cluster, laid_down), Renewal(everything=True))
    assert {node: set(leaves) for node, leaves in names(target).items()} == {node: set(NAMES) for node in NODES}
    assert {each.why for each in target.leaves} == {"asked for"}


def test_leaves_are_named_and_no_others_are_touched(cluster: Cluster, laid_down: dict[str, Files]) -> None:
    broken = {node: {**files, f"{PKI}/scheduler.crt": "rubbish"} for node, files in laid_down.items()}
    target = due(cluster, seen(cluster, broken), Renewal(only=frozenset({"etcd/peer", "admin.conf"})))
    assert names(target) == {node: {"etcd/peer": "asked for", "admin.conf": "asked for"} for node in NODES}


@pytest.mark.parametrize(("after", "count"), [(0, 0), (274, 0), (276, 10), (400, 10)])
def test_leaves_are_due_ninety_days_before_they_end(
    cluster: Cluster, laid_down: dict[str, Files], after: float, count: int
) -> None:
    target = due(cluster, seen(cluster, laid_down, after=after), Renewal())
    assert {len(leaves) for leaves in target.nodes.values()} == {count}


def test_short_lived_leaves_are_due_in_the_last_third_of_their_life() -> None:
    leaf = Held("apiserver", "f", 0.0, 30 * DAY)
    assert Renewal().reason(leaf, 19 * DAY) == ""
    assert Renewal().reason(leaf, 21 * DAY) == "ends in 9 days"
    assert Renewal(days=25).reason(leaf, 6 * DAY) == "ends in 24 days"
    assert MISFITS.reason(leaf, 29 * DAY) == ""


def test_a_target_names_exactly_what_is_renewed_and_only_once() -> None:
    aim = Renewal(target={"apiserver": "old"})
    assert aim.reason(Held("apiserver", "old", 0, DAY), 0)
    assert not aim.reason(Held("apiserver", "new", 0, DAY, misfit="has ended"), 0)
    assert not aim.reason(Held("scheduler", "old", 0, DAY, misfit="has ended"), 0)
    assert (aim.touches("apiserver"), aim.touches("scheduler")) == (True, False)


def test_a_name_that_the_inventory_gains_makes_the_api_servers_leaf_due(
    cluster: Cluster, laid_down: dict[str, Files], tmp_path: Path
) -> None:
    (tmp_path / "hosts.yml").write_text((cluster.inventory.parent / "hosts.yml").read_text())
    more = described(tmp_path, cluster_extra_sans="[new.example.org, 10.9.9.9]")
    target = due(more, seen(more, laid_down), Renewal())
    why = "does not name new.example.org, 10.9.9.9"
    assert names(target) == {node: {"apiserver": why} for node in NODES}


def spoil_key(files: Files, other: Files) -> Files:
    return files | {f"{PKI}/etcd/server.key": other[f"{PKI}/etcd/server.key"]}


def spoil_pair(files: Files, other: Files) -> Files:
    return files | {f"{PKI}/etcd/server.{kind}": other[f"{PKI}/etcd/server.{kind}"] for kind in ("crt", "key")}


def spoil_certificate(files: Files, _other: Files) -> Files:
    return files | {f"{PKI}/etcd/server.crt": "rubbish"}


def spoil_presence(files: Files, _other: Files) -> Files:
    return {path: content for path, content in files.items() if path != f"{PKI}/etcd/server.crt"}


def spoil_signer(files: Files, _other: Files) -> Files:
    held = x509.load_pem_x509_certificate(files[f"{PKI}/etcd/server.crt"].encode())
    stranger, key = create(key_type="ecdsa-p256", ca_days=400), new_key("ecdsa-p256")
    made = issue(stranger.etcd, profile_of(held), key=key, days=365)
    return files | {f"{PKI}/etcd/server.crt": certificate_to_pem(made), f"{PKI}/etcd/server.key": key_to_pem(key)}


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (spoil_key, "does not belong to its key"),
        (spoil_pair, "is for cp2, not for cp1"),
        (spoil_certificate, "cannot be read"),
        (spoil_presence, "is missing"),
        (spoil_signer, "is signed by another CA"),
    ],
)
def test_what_does_not_fit_is_found_by_the_plan_and_mended_by_the_play(
    cluster: Cluster, authorities: Authorities, laid_down: dict[str, Files], spoil: Any, why: str
) -> None:
    snapshot = seen(cluster, laid_down)
    node = identity(cluster, snapshot.nodes["cp1"])
    spoiled = {**laid_down, "cp1": spoil(laid_down["cp1"], laid_down["cp2"])}
    target = due(cluster, seen(cluster, spoiled), Renewal())
    assert names(target) == {"cp1": {"etcd/server": why}}
    renewal = Renewal(target=target.variables()["cp1"])
    after = spoiled["cp1"] | {f.path: f.content for f in leaf_files(node, authorities, spoiled["cp1"], renewal)}
    mended = seen(cluster, {**spoiled, "cp1": after})
    assert names(due(cluster, mended, Renewal())) == {}
    assert replaced(target)(mended, "cp1")
    assert not replaced(target)(seen(cluster, spoiled), "cp1")


def test_the_play_renews_what_the_target_names_with_new_keys_and_keeps_the_rest(
    cluster: Cluster, authorities: Authorities, laid_down: dict[str, Files]
) -> None:
    snapshot = seen(cluster, laid_down)
    target = due(cluster, snapshot, Renewal(only=frozenset({"apiserver", "admin.conf"})))
    node, held = identity(cluster, snapshot.nodes["cp2"]), laid_down["cp2"]
    renewal = Renewal(target=target.variables()["cp2"])
    first = {file.path: file.content for file in leaf_files(node, authorities, held, renewal)}
    assert {path for path in first if first[path] != held[path]} == {
        f"{PKI}/apiserver.crt",
        f"{PKI}/apiserver.key",
        ADMIN,
    }
    again = {file.path: file.content for file in leaf_files(node, authorities, held | first, renewal)}
    assert again == first, "a target is renewed once"


def test_key_and_certificate_are_laid_down_side_by_side(
    cluster: Cluster, authorities: Authorities, laid_down: dict[str, Files]
) -> None:
    node = identity(cluster, seen(cluster, laid_down).nodes["cp1"])
    paths = [file.path for file in leaf_files(node, authorities, {}) if file.path != ADMIN]
    assert [path[:-4] for path in paths[::2]] == [path[:-4] for path in paths[1::2]]


def test_a_node_that_did_not_answer_is_in_no_target(cluster: Cluster, laid_down: dict[str, Files]) -> None:
    target = due(cluster, seen(cluster, laid_down, silent=("cp2",)), Renewal(everything=True))
    assert sorted(target.nodes) == ["cp1", "cp3"]


def test_what_is_left_of_a_target_shrinks_as_leaves_are_replaced(
    cluster: Cluster, authorities: Authorities, laid_down: dict[str, Files]
) -> None:
    before = seen(cluster, laid_down)
    target = due(cluster, before, Renewal(everything=True))
    assert Target.from_journal(target.to_journal()) == target
    node = identity(cluster, before.nodes["cp3"])
    renewed = {file.path: file.content for file in leaf_files(node, authorities, {})}
    after = seen(cluster, {**laid_down, "cp3": laid_down["cp3"] | renewed})
    assert target.left(before) == target
    assert {name: len(leaves) for name, leaves in target.left(after).nodes.items()} == {"cp1": 10, "cp2": 10, "cp3": 0}


def test_a_node_is_not_done_while_old_leaves_lie_aside(cluster: Cluster, laid_down: dict[str, Files]) -> None:
    snapshot = seen(cluster, laid_down)
    aside = replace(snapshot, nodes={**snapshot.nodes, "cp1": replace(snapshot.nodes["cp1"], host=Host(kept=True))})
    done = replaced(Target({"cp1": {}}))
    assert done(snapshot, "cp1")
    assert not done(aside, "cp1")


def test_targets_add_up_and_the_older_word_stands() -> None:
    old = Target({"cp1": {"apiserver": Due("cp1", "apiserver", "f1", "1", "asked for")}})
    new = Target(
        {
            "cp1": {name: Due("cp1", name, "f2", "2", "ends in 3 days") for name in ("apiserver", "scheduler")},
            "cp2": {"scheduler": Due("cp2", "scheduler", "f3", "3", "ends in 3 days")},
        }
    )
    total = old.over(new)
    assert {(each.node, each.name, each.why) for each in total.leaves} == {
        ("cp1", "apiserver", "asked for"),
        ("cp1", "scheduler", "ends in 3 days"),
        ("cp2", "scheduler", "ends in 3 days"),
    }


def test_fingerprints_are_those_the_node_computes(cluster: Cluster, laid_down: dict[str, Files]) -> None:
    target = due(cluster, seen(cluster, laid_down), Renewal(everything=True))
    held = x509.load_pem_x509_certificate(laid_down["cp1"][f"{PKI}/apiserver.crt"].encode())
    assert target.variables()["cp1"]["apiserver"] == held.fingerprint(hashes.SHA256()).hex()


# Taken up again.


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def cut_off(cluster: Cluster, options: Options, target: Target, *, finished: bool = False) -> None:
    """A run that wrote down what it replaces, and came no further."""
    with open_run(cluster.name, OPERATION) as run:
        run.write("target", choice=options.choice, nodes=target.to_journal())
        if finished:
            run.write("finished")


ALL = Options(Renewal(everything=True))


def renewed(cluster: Cluster, authorities: Authorities, laid_down: dict[str, Files], *nodes: str) -> Snapshot:
    """What is seen after the leaves of these nodes were replaced."""
    snapshot, after = seen(cluster, laid_down), dict(laid_down)
    for name in nodes:
        node = identity(cluster, snapshot.nodes[name])
        after[name] = laid_down[name] | {file.path: file.content for file in leaf_files(node, authorities, {})}
    return seen(cluster, after)


@pytest.mark.usefixtures("state")
def test_the_same_choice_again_does_what_is_left_of_it_and_no_more(
    cluster: Cluster, authorities: Authorities, laid_down: dict[str, Files]
) -> None:
    first = plan(cluster, seen(cluster, laid_down), ALL)
    assert (first.order, first.resumed) == (NODES, False)
    cut_off(cluster, ALL, first.target)
    again = plan(cluster, renewed(cluster, authorities, laid_down, "cp1"), ALL)
    assert (again.order, again.resumed) == (("cp2", "cp3"), True)
    assert again.target.nodes["cp2"] == first.target.nodes["cp2"]
    done = plan(cluster, renewed(cluster, authorities, laid_down, *NODES), ALL)
    assert (done.order, done.resumed) == ((), False)


@pytest.mark.usefixtures("state")
def test_a_finished_rotation_is_not_taken_up(cluster: Cluster, laid_down: dict[str, Files]) -> None:
    first = plan(cluster, seen(cluster, laid_down), ALL)
    cut_off(cluster, ALL, first.target, finished=True)
    again = plan(cluster, seen(cluster, laid_down), Options(Renewal()))
    assert (again.order, again.resumed) == ((), False)


@pytest.mark.usefixtures("state")
def test_another_choice_adds_to_what_is_left(
    cluster: Cluster, authorities: Authorities, laid_down: dict[str, Files]
) -> None:
    only = Options(Renewal(only=frozenset({"scheduler"})))
    cut_off(cluster, only, plan(cluster, seen(cluster, laid_down), only).target)
    found = plan(cluster, seen(cluster, laid_down), Options(Renewal(only=frozenset({"apiserver"}))))
    assert {each.name for each in found.target.leaves} == {"scheduler", "apiserver"}
    assert found.resumed


@pytest.mark.usefixtures("state")
def test_a_node_that_could_not_be_asked_is_planned_when_it_can(cluster: Cluster, laid_down: dict[str, Files]) -> None:
    first = plan(cluster, seen(cluster, laid_down, silent=("cp3",)), ALL)
    assert (first.order, first.unknown) == (("cp1", "cp2"), ("cp3",))
    cut_off(cluster, ALL, first.target)
    again = plan(cluster, seen(cluster, laid_down), ALL)
    assert again.order == NODES
    assert len(again.target.nodes["cp3"]) == len(NAMES)


@pytest.mark.usefixtures("state")
def test_nothing_due_on_the_nodes_that_answer_is_not_nothing_due(cluster: Cluster, laid_down: dict[str, Files]) -> None:
    with pytest.raises(Unreachable, match="cp2: its certificates are not known: silent"):
        plan(cluster, seen(cluster, laid_down, silent=("cp2",)), Options(Renewal()))


@pytest.mark.usefixtures("state")
def test_the_plan_says_what_is_renewed_where_and_why(cluster: Cluster, laid_down: dict[str, Files]) -> None:
    text = describe("prod", plan(cluster, seen(cluster, laid_down, after=400), Options(Renewal())))
    assert text.splitlines() == [
        "prod: these leaves are renewed, on one node after the other, restarting the controllers:",
        *(f"  {node}  all 10 leaves: has ended" for node in NODES),
    ]
