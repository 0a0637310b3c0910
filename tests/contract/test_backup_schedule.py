"""Scheduled backups on nodes with a real etcd: one backup a slot, whoever dies, freezes or comes too late."""

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from cpkit.backup import Identities, StoreError, catalogue, open_bundle, open_store, shipping
from cpkit.backup.bundle import Bundle
from cpkit.backup.catalogue import Catalogue
from cpkit.backup.node.record import LOCK, RECORD
from cpkit.backup.node.taking import Taking, take
from cpkit.backup.stores.directory import Directory
from cpkit.inventory import load
from cpkit.node import lock as locks
from cpkit.node.gateway import Gateway
from cpkit.node.lock import LockLost
from cpkit.node.program import trusting
from cpkit.operations.restore_places import misplaced, read_places
from tests.contract.etcd_members import EtcdMember, etcd_binary, loopback, wait_for_quorum
from tests.contract.scheduled import ADDRESSES, ENDPOINT, EVERY_SECOND, FILES, Node, held_back, nodes, python
from tests.e2e.running import await_that

IDENTITY = pyrage.x25519.Identity.generate()
OPENING = Identities(f"{IDENTITY}\n", "backup.key")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EtcdMember]]:
    with loopback(etcd_binary(), tmp_path_factory.mktemp("etcd")) as place:
        names = ["cp1", "cp2", "cp3"]
        for name in names:
            place.announce(name)
        started = [place.start(name) for name in names]
        for member in started:
            wait_for_quorum(member)
        with started[0].client(timeout=10) as client:
            for number in range(500):
                client.etcd3.put(f"/registry/pods/default/pod-{number:04}", "x" * 1000)
        yield started


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def three(members: list[EtcdMember], tmp_path: Path, store: Path) -> list[Node]:
    with members[0].client(timeout=10) as client:
        client.etcd3.delete_prefix("/cpkit/")
    return nodes(tmp_path, members, str(store), str(IDENTITY.to_public()))


def listed(store: Path) -> Catalogue:
    with open_store(str(store)) as opened:
        return catalogue.read(opened)


def bundle(store: Path, name: str = "latest") -> Bundle:
    with open_store(str(store)) as opened:
        return open_bundle(opened, name, OPENING)


def test_every_module_that_is_shipped_needs_the_standard_library_alone(three: list[Node]) -> None:
    names = [f"cpkit.{name.replace('/', '.')}" for name in shipping.MODULES]
    line = f"import sys, importlib; sys.path.insert(0, {str(three[0].root / 'program')!r}); "
    done = subprocess.run(
        [python(), "-ISB", "-c", f"{line}[importlib.import_module(name) for name in {names}]"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_of_all_contenders_one_takes_the_backup_and_the_others_see_it(three: list[Node], store: Path) -> None:
    processes = [node.start() for node in three]
    said = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    found = listed(store)
    assert len(found.backups) == 1
    assert found.leftovers == ()
    assert sorted(node.status["outcome"] for node in three) == ["seen", "seen", "taken"]
    assert {node.status["record"]["name"] for node in three} == {found.backups[0].name}
    for node in three:
        assert f'cpkit_backup_last_size_bytes{{cluster="prod",node="{node.settings.node}"}}' in node.metrics
        assert 'proof="stored"' in node.metrics
    assert {path.stat().st_mode & 0o777 for path in store.iterdir()} == {0o600}


def test_the_bundle_is_what_cpkit_takes_itself(three: list[Node], store: Path, members: list[EtcdMember]) -> None:
    code, said = three[1].run()
    assert code == 0, said
    opened = bundle(store)
    assert {*opened.names} == {*FILES, "versions.json", "inventory/hosts.yml"}
    assert opened.read("pki/ca.key") == FILES["pki/ca.key"].encode()
    manifest = opened.manifest
    assert manifest.source.node == "cp2"
    assert [each.node for each in manifest.hashes] == ["cp1", "cp2", "cp3"]
    assert len({each.hash for each in manifest.hashes}) == 1
    assert (manifest.nodes, manifest.endpoint) == (ADDRESSES, ENDPOINT)
    assert opened.sidecar.nodes == ADDRESSES
    assert manifest.resources == {"pods": 500}  # the lock that was held is no part of the cluster
    with members[0].client(timeout=10) as client:
        assert manifest.hashes[0].hash == client.hash_kv(manifest.revision).hash
        assert manifest.cluster_id == f"{client.status().cluster_id:x}"
        assert manifest.source.member_id in {f"{member.id:x}" for member in client.members()}


def test_a_backup_that_a_node_took_is_refused_on_other_machines_without_a_map(three: list[Node], store: Path) -> None:
    here = load(Path(__file__).parents[2] / "inventories" / "lab")
    code, said = three[0].having(cluster=here.name).run()
    assert code == 0, said
    manifest = bundle(store).manifest
    found = list(misplaced(here, manifest, {}))
    assert [(each.check, each.level) for each in found] == [("restore.place", "fail")]
    assert "cp1 (10.9.0.1), cp2 (10.9.0.2) and cp3 (10.9.0.3)" in found[0].text
    suggested = found[0].hint.rpartition("--map ")[2]
    assert list(misplaced(here, manifest, read_places(here, [suggested]))) == []
    told = {node.name: node.address for node in here.control_plane}
    assert list(misplaced(here, replace(manifest, nodes=told), {})) == []


def test_a_holder_that_is_killed_is_followed_by_another(three: list[Node], store: Path, tmp_path: Path) -> None:
    with held_back(three[0], tmp_path / "slow") as (process, _):
        second = three[1].start()
        process.kill()
        out, err = second.communicate(timeout=60)
    assert second.returncode == 0, out + err
    assert "cp1 is at it" in out
    assert [each.node for each in listed(store).backups] == ["cp2"]
    bundle(store)


def test_a_holder_that_was_frozen_publishes_nothing_any_more(three: list[Node], store: Path, tmp_path: Path) -> None:
    with held_back(three[0], tmp_path / "slow") as (process, go):
        process.send_signal(signal.SIGSTOP)
        code, said = three[1].run()
        assert code == 0, said
        go.touch()
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1, out
    assert "the lock was lost" in err
    found = listed(store)
    assert [each.node for each in found.backups] == ["cp2"]
    assert found.leftovers == ()
    assert three[0].status["outcome"] == "failed"
    assert 'cpkit_backup_last_run_success{cluster="prod",node="cp1"} 0' in three[0].metrics


def test_a_lock_lost_just_before_the_name_is_given_is_lost(three: list[Node], store: Path) -> None:
    """The narrowest place: the transaction has succeeded, and another node is through before the rename."""
    context = trusting(three[0].settings)
    etcd = Gateway(three[0].settings.members["cp1"], context, node="cp1")

    class Late(Directory):
        def rename(self, name: str, to: str) -> None:
            etcd.call("lease/revoke", {"ID": held.lease})
            code, said = three[1].run()
            assert code == 0, said
            super().rename(name, to)

    with locks.held(etcd, LOCK, 3, lambda _: None) as held:
        taking = Taking(three[0].settings, etcd, context, held, 4102444800.0)
        with pytest.raises(StoreError):
            take(taking, Late(store), "")
    found = listed(store)
    assert [each.node for each in found.backups] == ["cp2"]
    assert found.leftovers == ()


def test_what_was_lost_before_the_store_was_read_back_is_not_recorded(three: list[Node], store: Path) -> None:
    context = trusting(three[0].settings)
    etcd = Gateway(three[0].settings.members["cp1"], context, node="cp1")
    with locks.held(etcd, LOCK, 3, lambda _: None) as held:
        etcd.call("lease/revoke", {"ID": held.lease})
        with pytest.raises(LockLost):
            take(Taking(three[0].settings, etcd, context, held, 1.0), Directory(store), "")
    assert etcd.get(RECORD) is None
    assert list(store.iterdir()) == []


def test_a_store_that_is_not_mounted_here_takes_nothing(three: list[Node], store: Path, tmp_path: Path) -> None:
    assert three[0].run()[0] == 0
    kept = tmp_path / "kept"
    store.rename(kept)
    code, said = three[1].having(calendar=EVERY_SECOND).run()
    assert code == 1
    assert "is no directory here" in said
    store.mkdir()
    code, said = three[1].having(calendar=EVERY_SECOND).run()
    assert code == 1
    assert "is not the store that holds" in said
    assert list(store.iterdir()) == []


def test_old_backups_go_by_the_rules_and_proofs_are_told(three: list[Node], store: Path) -> None:
    node = three[2].having(calendar=EVERY_SECOND, keep={"last": 2})
    first = ""

    def gone() -> bool:
        code, said = node.run()
        assert code == 0, said
        return f"deleted {first}" in said

    assert node.run()[0] == 0
    first = listed(store).backups[0].name
    await_that(gone, 30)
    assert len(listed(store).backups) == 2
    assert set(node.status["verified"]) == {"stored"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"calendar": "sometimes UTC"}, "is no calendar of systemd"),
        ({"recipients": ("age1nonsense",)}, "age cannot seal the backup"),
        ({"members": {"cp1": "127.0.0.1:1"}}, "etcd does not answer on this node"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    three: list[Node], store: Path, changes: dict[str, object], words: str
) -> None:
    code, said = three[0].having(**changes).run()
    assert code == 1
    assert words in said
    assert "Traceback" not in said
    assert listed(store) == Catalogue(())
    assert [path.name for path in store.iterdir() if not path.name.startswith(".cpkit-store")] == []


def test_announcing_only_says_when_the_next_is_due(three: list[Node], store: Path) -> None:
    code, said = three[0].run("announce")
    assert (code, said) == (0, "")
    assert three[0].status["outcome"] == "waiting"
    assert three[0].status["next"] > three[0].status["at"]
    assert list(store.iterdir()) == []
    assert "cpkit_backup_next_due_timestamp_seconds" in three[0].metrics
