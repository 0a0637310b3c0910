"""The encryption key of a running cluster: taken back on one node, rotated under load, and killed at every step."""

import json
import os
import signal
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from nacl.secret import SecretBox
from ruamel.yaml import YAML

from cpkit.backup import catalogue, open_store
from cpkit.facts.member import open_member
from cpkit.handing import handed
from cpkit.inventory import load as load_inventory
from cpkit.operations.credentials import trusting
from cpkit.paths import ansible_root
from cpkit.pki.authorities import ENCRYPTION
from cpkit.pki.encryption import Key, parse, with_keys
from tests.e2e.load import load
from tests.e2e.many_secrets import NAMESPACE, create, stored, wrong
from tests.e2e.raised import LabFactory, run_cpkit
from tests.e2e.running import Cluster, await_that, bootstrap

pytestmark = pytest.mark.long

COUNT = 5000
AGED = f"/registry/secrets/{NAMESPACE}/s00042".encode()
LONGEST = 420.0  # seconds a rotation may take on a machine that does other work too
ASIDE = "ls -d /var/lib/cpkit/previous-encryption /run/cpkit/lock.json 2>/dev/null || true"
LAID = "Lay down the encryption configuration"
GATE = "Ask cpkit's gate about this node"
AESCBC = """\
      - aescbc:
          keys:
            - name: old
              secret: {}
"""
Event = dict[str, Any]


@pytest.fixture(scope="module")
def cluster(make_lab: LabFactory, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A cluster with many Secrets, whose inventory says where backups go."""
    cluster = bootstrap(make_lab(nodes=3, balancers=1), tmp_path_factory.mktemp("kubeconfig"))
    folder = tmp_path_factory.mktemp("backups")
    recipient = run_cpkit("backup", "key", str(folder / "backup.key")).stdout.strip()
    with (cluster.lab.inventory / "group_vars" / "all.yml").open("a") as file:
        file.write(f"backup_store: {folder}/store\nbackup_recipients: [{recipient}]\n")
    create(cluster, trusting(YAML(typ="safe").load(cluster.kubeconfig)), COUNT)
    put_under_aescbc(cluster)
    return cluster


def configurations(cluster: Cluster) -> dict[str, str]:
    return cluster.on_each(f"cat {ENCRYPTION}")


def keys(cluster: Cluster) -> set[tuple[str, ...]]:
    """The names of the keys, in order, that the nodes hold."""
    return {parse(text).names for text in configurations(cluster).values()}


def put_under_aescbc(cluster: Cluster) -> None:
    """Have one Secret be under a provider of earlier times, which is still listed for reading."""
    secret = os.urandom(32)
    text = AESCBC.format(b64encode(secret).decode()).replace("\n", "\\n")
    cluster.on_each(f"sed -i 's#^      - identity#{text}&#' {ENCRYPTION}")
    await_that(lambda: run_cpkit("encryption", "status", "-i", cluster.lab.name).stdout.count("; in use") == 3, 150)
    held = parse(configurations(cluster)["cp1"]).keys[0]
    with open_member(load_inventory(cluster.lab.inventory).control_plane[0], timeout=30) as client:
        (row,) = client.rows(AGED, AGED + b"\0", revision=0, limit=1)
        content = SecretBox(b64decode(held.secret)).decrypt(row.value.split(b":", 5)[5])
        vector, padder = os.urandom(16), PKCS7(128).padder()
        encryptor = Cipher(AES(secret), CBC(vector)).encryptor()
        sealed = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
        client.etcd3.put(AGED, b"k8s:enc:aescbc:v1:old:" + vector + sealed)
    assert wrong(cluster) == [], "the API servers read it"


def test_a_node_that_is_not_well_with_its_new_file_gets_the_previous_one_back(cluster: Cluster) -> None:
    cluster.settle()
    before = configurations(cluster)
    new = with_keys(before["cp1"], [*parse(before["cp1"]).keys, Key("key9", "bmV3")])
    root, described = ansible_root() / "playbooks", load_inventory(cluster.lab.inventory)
    cluster.lab.on("cp1", "systemctl kill -s STOP kube-scheduler")
    try:
        with handed({ENCRYPTION: new}) as descriptor:
            given = {"encryption_keys_descriptor": descriptor, "encryption_keys_wait": 3, "gate_asked": True}
            done = subprocess.run(
                ["ansible-playbook", "-i", str(described.inventory), str(root / "rotate_encryption.yml"),
                 "--extra-vars", json.dumps(given)],
                env=os.environ | {"ANSIBLE_CONFIG": str(root / "ansible.cfg"),
                                  "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
                pass_fds=(descriptor,), capture_output=True, text=True, timeout=LONGEST, check=False,
            )  # fmt: skip
    finally:
        cluster.lab.on("cp1", "systemctl kill -s CONT kube-scheduler")
    assert done.returncode != 0
    assert "and the previous one is back" in done.stdout, done.stdout
    assert done.stdout.count("kube-scheduler") > 0, "it says what is wrong"
    assert configurations(cluster) == before, "cp1 has its file back, and cp2 and cp3 were not touched"
    assert run_cpkit("unlock", "-i", cluster.lab.name, "--yes").returncode == 0
    assert set(cluster.on_each(ASIDE).values()) == {""}
    cluster.settle()


# Where a run is killed: a step that has begun, or a task of a play for which it is a node's turn.


def begun(step: str) -> Callable[[Event, int], bool]:
    return lambda event, _: event["event"] == "step" and event["state"] == "started" and step in event["step"]


def task(name: str, turn: int) -> Callable[[Event, int], bool]:
    """The task of a name, in the so-many-th node's turn of this run."""
    return lambda event, turns: event["event"] == "task" and event["name"] == name and turns == turn


def midway(event: Event, _: int) -> bool:
    """Some objects are rewritten, and others not."""
    words = event["text"].split() if event["event"] == "status" else []
    return words[1:2] == ["of"] and "objects," in words and 0 < int(words[0]) < COUNT


CUTS = {
    "add, on the second node": task(LAID, 2),
    "add, while it is waited for": begun("Add the new key: wait"),
    "promote, on the second node": task(LAID, 2),
    "promote, while it is waited for": begun("Write with the new key: wait"),
    "rewriting": midway,
    "proving": begun("Prove it"),
    "the backup": begun("Stream the snapshot"),
    "drop, when the first node has its file": task(GATE, 1),
    "drop, while it is waited for": begun("Drop the old key: wait"),
}


def killed(cluster: Cluster, cut: Callable[[Event, int], bool]) -> None:
    """Run a rotation, and kill it as it says that it is where it is to be cut off."""
    command = [sys.executable, "-m", "cpkit", "encryption", "rotate", "-i", cluster.lab.name, "--yes", "-o", "json"]
    turns, reached, seen = 0, False, []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            event = json.loads(line)
            seen.append(line)
            turns += event["event"] == "step" and event["state"] == "started" and " on cp" in event["step"]
            if cut(event, turns):
                reached = True
                process.send_signal(signal.SIGKILL)
                break
        _, told = process.communicate()
    assert reached, f"it ended before: {told}\n{''.join(seen[-5:])}"
    assert process.returncode == -signal.SIGKILL


def test_the_key_is_rotated_under_load_though_every_step_is_killed_once(cluster: Cluster) -> None:
    started, held = cluster.unit_starts(), parse(configurations(cluster)["cp1"]).keys[0]
    assert stored(cluster) == {held.name: COUNT - 1, "": 1}
    with load(cluster.kubeconfig) as seen:
        for name, cut in CUTS.items():
            killed(cluster, cut)
            now = stored(cluster)
            print(f"killed: {name}; under {now}")  # noqa: T201 - to be read where it fails later
            assert sum(now.values()) == COUNT
            assert name != "rewriting" or {"key1", "key2"} <= now.keys(), "it was cut off in the middle"
        done = run_cpkit("resume", "-i", cluster.lab.name, timeout=LONGEST)
    print(f"{seen}\n{done.stdout}")  # noqa: T201 - a measurement to be read
    assert done.returncode == 0, done.stderr
    assert "taking up rotate-encryption" in done.stderr
    assert "this finishes a rotation that an earlier run began" in done.stderr
    assert "nothing is to be taken up" in run_cpkit("resume", "-i", cluster.lab.name).stdout
    assert seen.errors == []
    assert seen.watches_cut == 0
    assert cluster.unit_starts() == started
    assert stored(cluster) == {"key2": COUNT}
    assert keys(cluster) == {("key2",)}
    assert all(held.secret not in text for text in configurations(cluster).values())
    assert wrong(cluster) == []
    assert set(cluster.on_each(ASIDE).values()) == {""}
    status = run_cpkit("encryption", "status", "-i", cluster.lab.name)
    assert (status.returncode, status.stdout.count("; in use")) == (0, 3), status.stdout
    with open_store(load_inventory(cluster.lab.inventory).spec.backup_store) as store:
        found = catalogue.read(store)
    assert found.backups, "the old key was dropped after a new backup"
    cluster.settle()
