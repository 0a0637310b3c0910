"""Looking into backups of a real cluster: what is listed, what can be applied again, and what differs."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from cpkit.backup import Recipients, Sidecar, open_store
from cpkit.backup.keys import make_identity
from tests.contract import kubernetes
from tests.contract.backups import take

CUSTOM = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
WIDGET = "{apiVersion: example.org/v1, kind: Widget, metadata: {name: w1, namespace: shop}, spec: {size: 3}}"
ODD = {
    "bool": "yes",
    "number": "0123",
    "lines": "one\n two\n\nthree\n",
    "colon": "a: b",
    "trailing": "a \nb",
    "empty": "",
}


@dataclass(frozen=True)
class Backups:
    """An older and a newer backup of a cluster."""

    origin: kubernetes.Cluster
    older: Sidecar
    newer: Sidecar
    access: tuple[str, ...]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "cpkit", "backup", *words, *self.access]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    def told(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def backups() -> Iterator[Backups]:
    with tempfile.TemporaryDirectory(prefix="cpkit-test-", dir="/dev/shm") as folder:
        memory, key, store = Path(folder), Path(folder) / "backup.key", Path(folder) / "store"
        sealing = Recipients((make_identity(key),))
        with kubernetes.cluster(memory) as origin, open_store(str(store)) as opened:
            _fill(origin)
            older = take(origin.member.client, opened, sealing, parts=origin.parts, age=timedelta(hours=1))
            _change(origin)
            newer = take(origin.member.client, opened, sealing, parts=origin.parts)
            access = ("--store", str(store), "--identity", str(key), "--scratch", str(memory))
            yield Backups(origin, older, newer, access)


def _fill(origin: kubernetes.Cluster) -> None:
    origin.kubectl("create", "namespace", "shop")
    origin.kubectl("create", "secret", "generic", "db", "--namespace=shop", "--from-literal=password=hunter2")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": "shop"}, "data": ODD}
    origin.kubectl("create", "-f", "-", stdin=json.dumps(body))
    origin.kubectl("create", "configmap", "same", "--namespace=shop")
    origin.kubectl("create", "-f", "-", stdin=CUSTOM)
    origin.kubectl("wait", "--for=condition=Established", "crd/widgets.example.org", "--timeout=30s")
    origin.kubectl("create", "-f", "-", stdin=WIDGET)


def _change(origin: kubernetes.Cluster) -> None:
    origin.kubectl("delete", "secret/db", "configmap/web", "--namespace=shop")
    origin.kubectl("create", "configmap", "new", "--namespace=shop")
    origin.kubectl("patch", "widget/w1", "--namespace=shop", "--type=merge", '--patch={"spec":{"size":4}}')


def test_everything_in_it_is_listed(backups: Backups) -> None:
    name = backups.older.name
    told = {each["resource"]: each["objects"] for each in json.loads(backups.told("browse", "-b", name, "-o", "json"))}
    assert told["secrets"] == told["widgets.example.org"] == told["customresourcedefinitions.apiextensions.k8s.io"] == 1
    listed = json.loads(backups.told("browse", "cm", "-n", "shop", "-b", name, "-o", "json"))
    assert [each["name"] for each in listed] == ["same", "web"]
    assert {"namespace": "shop", "name": "w1"} in json.loads(backups.told("browse", "wd", "-b", name, "-o", "json"))


def test_an_object_that_was_deleted_comes_back(backups: Backups) -> None:
    origin = backups.origin
    try:
        for what in ("secret/db", "ConfigMap/web"):
            done = backups.run("get", what, "-n", "shop", "-b", backups.older.name)
            assert done.returncode == 0, done.stderr
            assert "metadata.resourceVersion" in done.stderr
            origin.kubectl("apply", "-f", "-", stdin=done.stdout)
        assert json.loads(origin.kubectl("get", "configmap/web", "--namespace=shop", "-o", "json"))["data"] == ODD
        secret = json.loads(origin.kubectl("get", "secret/db", "--namespace=shop", "-o", "json"))
        assert secret["data"] == {"password": "aHVudGVyMg=="}
    finally:
        origin.kubectl("delete", "secret/db", "configmap/web", "--namespace=shop", "--ignore-not-found")


def test_all_objects_of_a_resource_are_one_document(backups: Backups) -> None:
    body = json.loads(backups.told("get", "widgets", "-A", "-o", "json", "-b", backups.older.name))
    assert body["kind"] == "List"
    assert [each["spec"] for each in body["items"]] == [{"size": 3}]
    assert "applied" not in backups.origin.kubectl("apply", "--dry-run=client", "-f", "-", stdin=json.dumps(body))


def test_without_keys_all_that_is_not_encrypted_is_shown(backups: Backups, tmp_path: Path) -> None:
    origin, store = backups.origin, str(tmp_path / "store")
    origin.kubectl("create", "secret", "generic", "other", "--namespace=shop")
    with open_store(store) as opened:
        clear = {name: data for name, data in origin.parts.items() if name != "encryption.yaml"}
        take(origin.member.client, opened, None, parts=clear)
    without = Backups(origin, backups.older, backups.newer, ("--store", store, *backups.access[4:]))
    told = {each["resource"]: each["objects"] for each in json.loads(without.told("browse", "-o", "json"))}
    assert told["secrets"] is None
    assert told["configmaps"] > 1
    done = without.run("get", "secret/other", "-n", "shop")
    assert done.returncode == 3
    assert "cannot be read" in done.stderr


def test_what_is_not_there_is_said(backups: Backups) -> None:
    for words, code, reason in (
        (("get", "secret/db", "-n", "shop"), 1, "holds no secrets/db in namespace shop"),
        (("get", "secrt/db"), 2, "Did you mean secret?"),
        (("get", "secret/"), 2, "names no object"),
        (("browse", "secrets", "-b", "prod-20300101T000000Z-r1"), 2, "holds no backup"),
    ):
        done = backups.run(*words)
        assert done.returncode == code, done.stderr
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_a_difference_names_exactly_what_was_changed(backups: Backups) -> None:
    done = backups.run("diff", backups.older.name, "latest", "-o", "json")
    assert done.returncode == 1, done.stderr
    assert [tuple(each.values()) for each in json.loads(done.stdout)["differences"]] == [
        ("configmaps", "shop/new", "added"),
        ("configmaps", "shop/web", "removed"),
        ("secrets", "shop/db", "removed"),
        ("widgets.example.org", "shop/w1", "changed"),
    ]
    back = backups.run("diff", "latest", backups.older.name)
    assert back.returncode == 1
    assert "+ secrets  shop/db" in back.stdout
    same = backups.run("diff", "latest", backups.newer.name)
    assert same.returncode == 0
    assert "No difference." in same.stdout
    assert backups.run("diff", "latest", "prod-20300101T000000Z-r1").returncode == 2
