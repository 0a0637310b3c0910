"""Scheduled backups into S3: a node's own client and the fence between two nodes, on a real server and a real etcd."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pyrage
import pytest

from cpkit.backup import Identities, StoreError, catalogue, open_bundle, open_store
from cpkit.backup.catalogue import Catalogue
from cpkit.backup.node.s3 import S3
from cpkit.backup.node.s3_calls import Caller, Missing, place
from cpkit.backup.node.signing import Credentials
from cpkit.backup.node.stores import PENDING
from tests.contract.etcd_members import EtcdMember, etcd_binary, loopback, wait_for_quorum
from tests.contract.s3_server import S3Server, s3_server
from tests.contract.scheduled import EVERY_SECOND, Node, held_back, nodes
from tests.e2e.running import await_that

IDENTITY = pyrage.x25519.Identity.generate()
PART = 5 << 20  # the least that S3 takes for a part that is not the last


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EtcdMember]]:
    with loopback(etcd_binary(), tmp_path_factory.mktemp("etcd")) as land:
        names = ["cp1", "cp2"]
        for name in names:
            land.announce(name)
        started = [land.start(name) for name in names]
        for member in started:
            wait_for_quorum(member)
        with started[0].client(timeout=20) as client:
            for number in range(40):  # more than one part of an upload
                client.etcd3.put(f"/registry/pods/default/pod-{number:04}", os.urandom(300_000))
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as started:
        yield started


def credentials(folder: Path, server: S3Server, secret: str = "") -> str:
    path = folder / f"credentials-{secret}.json"
    path.write_text(json.dumps(asdict(Credentials(server.access, secret or server.secret))))
    return str(path)


@pytest.fixture
def two(members: list[EtcdMember], server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    with members[0].client(timeout=10) as client:
        client.etcd3.delete_prefix("/cpkit/")
    made = nodes(tmp_path, members, server.location(tmp_path.name), str(IDENTITY.to_public()))
    return [node.having(s3_credentials=credentials(tmp_path, server)) for node in made]


def listed(node: Node) -> Catalogue:
    """What the operator's own client finds there."""
    with open_store(node.settings.store) as opened:
        return catalogue.read(opened)


@pytest.fixture
def store(two: list[Node], server: S3Server) -> S3:
    return S3(Caller(place(two[0].settings.store), Credentials(server.access, server.secret)))


def test_one_of_two_takes_the_backup_and_the_operator_opens_it(two: list[Node]) -> None:
    processes = [node.start() for node in two]
    said = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sorted(node.status["outcome"] for node in two) == ["seen", "taken"]
    found = listed(two[0])
    assert (len(found.backups), found.leftovers) == (1, ())
    with open_store(two[0].settings.store) as opened:
        bundle = open_bundle(opened, "latest", Identities(f"{IDENTITY}\n", "backup.key"))
        assert bundle.manifest.resources == {"pods": 40}
        assert sum(map(len, bundle.stream())) > 12_000_000


def test_a_holder_that_was_frozen_publishes_nothing_any_more(two: list[Node], tmp_path: Path) -> None:
    with held_back(two[0], tmp_path / "slow") as (process, go):
        process.send_signal(signal.SIGSTOP)
        code, said = two[1].run()
        assert code == 0, said
        go.touch()
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, "the lock was lost" in err) == (1, True), out + err
    found = listed(two[0])
    assert [each.node for each in found.backups] == ["cp2"]
    assert found.leftovers == ()


def test_a_sidecar_that_was_taken_away_cannot_be_given_its_name(store: S3) -> None:
    store.write(f"{PENDING}7", b"{}")
    assert [item.name for item in store.unfinished()] == [f"{PENDING}7"]
    store.discard(store.unfinished()[0])
    with pytest.raises(StoreError, match="holds no"):
        store.rename(f"{PENDING}7", "late.json")
    with pytest.raises(Missing):
        store.caller.call("PUT", "late.json", x_amz_copy_source=f"/backups/{PENDING}7")
    assert store.list() == ()


def test_old_backups_go_by_the_rules(two: list[Node]) -> None:
    node = two[0].having(calendar=EVERY_SECOND, keep={"last": 1})
    assert node.run()[0] == 0
    first = listed(node).backups[0].name

    def gone() -> bool:
        code, said = node.run()
        assert code == 0, said
        return f"deleted {first}" in said

    await_that(gone, 30)
    found = listed(node)
    assert (len(found.backups), found.leftovers) == (1, ())


def test_what_is_wrong_is_said_in_one_line(two: list[Node], server: S3Server, tmp_path: Path) -> None:
    location = two[0].settings.store
    for changes, words in (
        ({"s3_credentials": credentials(tmp_path, server, "wrong")}, "SignatureDoesNotMatch"),
        ({"store": location.replace("s3://backups", "s3://nowhere")}, "NoSuchBucket"),
        ({"store": location.replace(str(server.port), "1")}, "cannot be reached"),
        ({"s3_credentials": "/nonexistent"}, "holds no credentials"),
    ):
        code, said = two[0].having(**changes).run()
        assert (code, words in said, "Traceback" in said) == (1, True, False), said
        assert server.secret not in said


def test_an_upload_that_breaks_off_leaves_nothing_and_a_killed_one_is_found(store: S3) -> None:
    with pytest.raises(ZeroDivisionError), store.upload(1) as upload:  # noqa: PT012 - it breaks within
        upload.write(bytes(20 << 20))
        raise ZeroDivisionError
    assert (store.list(), store.unfinished()) == ((), ())
    store._begin(".partial-killed")
    (left,) = store.unfinished()
    assert left.name == ".partial-killed"
    store.discard(left)
    store.discard(left)
    assert store.unfinished() == ()


def test_large_objects_get_their_name_in_parts_and_listings_have_pages(store: S3) -> None:
    whole = S3(store.caller, largest_copy=PART)
    data = os.urandom(2 * PART + 12345)
    with whole.upload(1) as upload:
        upload.write(data)
        upload.commit("large")
    with whole.open("large") as body:
        assert b"".join(iter(lambda: body.read(1 << 20), b"")) == data
    assert [(item.name, item.size) for item in whole.list()] == [("large", len(data))]
    with pytest.raises(StoreError, match="is there already"), whole.upload(1) as upload:
        upload.commit("large")
    for number in range(4):
        whole.write(f"n{number}", b"x")
    rows = list(whole._rows({"list-type": "2", "max-keys": "2"}, "Contents", ("continuation-token",)))
    assert len({row.findtext("{*}Key") for row in rows}) >= 5


def test_the_role_tries_the_store_from_the_node_and_hides_the_credentials(server: S3Server, tmp_path: Path) -> None:
    """The role as it is, on this machine and in check mode: only the store is really asked."""
    root, inventory = Path(__file__).parents[2], tmp_path / "inventory"
    shutil.copytree(root / "inventories" / "lab", inventory)
    (tmp_path / "group_vars").symlink_to(root / "playbooks" / "group_vars")
    (tmp_path / "play.yml").write_text("- hosts: cp1\n  tasks: [{import_role: {name: backup_schedule}}]\n")
    told = {"inventory_file": str(inventory / "hosts.yml"), "ansible_become": False, "backup_schedule_at": "hourly"}
    told |= {"ansible_python_interpreter": sys.executable, "backup_recipients": [str(IDENTITY.to_public())]}
    told |= {"backup_store": server.location("role"), "backup_schedule_s3_credentials": str(tmp_path / "keys")}
    argv = ["ansible-playbook", "-i", str(inventory), "--connection=local", "--check", "--diff", "-vvv"]
    environment = os.environ | {"ANSIBLE_CONFIG": str(root / "playbooks" / "ansible.cfg")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def play(secret: str) -> str:
        text = f"[default]\naws_access_key_id = {server.access}\naws_secret_access_key = {secret}\n"
        (tmp_path / "keys").write_text(text)
        done = subprocess.run(
            [*argv, "--extra-vars", json.dumps(told), str(tmp_path / "play.yml")],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert secret not in done.stdout + done.stderr
        return done.stdout + done.stderr

    said = play(server.secret)
    assert "failed=0" in said, said
    assert "after: /etc/cpkit/backup.json" in said
    assert "s3_credentials" in said
    assert "after: /etc/cpkit/backup-s3.json" not in said
    assert "s3://backups/role refuses: HTTP 403, SignatureDoesNotMatch" in play("another-secret")
