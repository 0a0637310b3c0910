"""A kubeconfig on the operator's machine: for its owner alone, merged without loss, never half written."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cpkit import kubeconfig
from cpkit.errors import UsageError

ADMIN = """\
apiVersion: v1
kind: Config
clusters:
  - name: kubernetes
    cluster: {server: "https://10.0.0.100:6443", certificate-authority-data: Q0E=}
users:
  - name: kubernetes-admin
    user: {client-certificate-data: Q1JU, client-key-data: S0VZ}
contexts:
  - name: kubernetes-admin@kubernetes
    context: {cluster: kubernetes, user: kubernetes-admin}
current-context: kubernetes-admin@kubernetes
"""
OTHERS = """\
apiVersion: v1
kind: Config
preferences: {colors: true}
clusters:
  - name: work  # not mine to touch
    cluster: {server: "https://work.example.org"}
users:
  - name: me
    user: {token: kept}
contexts:
  - name: work
    context: {cluster: work, user: me, namespace: team}
current-context: work
"""


def read(path: Path) -> dict[str, Any]:
    body: dict[str, Any] = YAML(typ="safe").load(path.read_text())
    return body


def names(body: dict[str, Any], key: str) -> list[str]:
    return [entry["name"] for entry in body[key]]


def test_it_is_for_its_owner_alone_under_the_clusters_own_names(tmp_path: Path) -> None:
    path = tmp_path / "new" / "prod.conf"
    umask = os.umask(0)
    try:
        kubeconfig.write(path, ADMIN, "prod", merge=False)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    body = read(path)
    assert (names(body, "clusters"), names(body, "users"), names(body, "contexts")) == (
        ["prod"],
        ["prod-admin"],
        ["prod"],
    )
    assert body["contexts"][0]["context"] == {"cluster": "prod", "user": "prod-admin"}
    assert body["current-context"] == "prod"
    assert body["clusters"][0]["cluster"]["server"] == "https://10.0.0.100:6443"
    assert body["users"][0]["user"] == {"client-certificate-data": "Q1JU", "client-key-data": "S0VZ"}


def test_merging_keeps_every_other_entry(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(OTHERS)
    path.chmod(0o644)
    kubeconfig.write(path, ADMIN, "prod", merge=True)
    body = read(path)
    before = YAML(typ="safe").load(OTHERS)
    for key, mine in (("clusters", "prod"), ("users", "prod-admin"), ("contexts", "prod")):
        assert body[key][0] == before[key][0]
        assert names(body, key)[1:] == [mine]
    assert body["preferences"] == {"colors": True}
    assert body["current-context"] == "prod"
    assert "# not mine to touch" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_merging_twice_replaces_and_never_doubles(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(OTHERS)
    kubeconfig.write(path, ADMIN, "prod", merge=True)
    kubeconfig.write(path, ADMIN.replace("S0VZ", "TkVX"), "prod", merge=True)
    body = read(path)
    assert names(body, "clusters") == ["work", "prod"]
    assert body["users"][1]["user"]["client-key-data"] == "TkVX"


@pytest.mark.parametrize("empty", ["", "apiVersion: v1\nkind: Config\nclusters: null\nusers: []\n"])
def test_merging_into_an_empty_file_works(tmp_path: Path, empty: str) -> None:
    path = tmp_path / "config"
    path.write_text(empty)
    kubeconfig.write(path, ADMIN, "prod", merge=True)
    body = read(path)
    assert (body["kind"], names(body, "clusters")) == ("Config", ["prod"])


@pytest.mark.parametrize(
    "broken", ["a: [", "- just\n- a list\n", "clusters: {not: a list}\n", "clusters:\n  - {}\n", "users: [a string]\n"]
)
def test_a_file_that_is_no_kubeconfig_is_refused_and_left_as_it_is(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "config"
    path.write_text(broken)
    with pytest.raises(UsageError, match="is not a kubeconfig"):
        kubeconfig.write(path, ADMIN, "prod", merge=True)
    assert path.read_text() == broken
    assert list(tmp_path.iterdir()) == [path]


def test_without_merge_the_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(OTHERS)
    kubeconfig.write(path, ADMIN, "prod", merge=False)
    assert "work" not in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_kubeconfig_stays_a_link(tmp_path: Path) -> None:
    target, path = tmp_path / "real", tmp_path / "config"
    target.write_text(OTHERS)
    path.symlink_to(target)
    kubeconfig.write(path, ADMIN, "prod", merge=True)
    assert path.is_symlink()
    assert names(read(target), "clusters") == ["work", "prod"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (OTHERS, "holds other clusters or users: me, work"),
        ("- just\n- a list\n", "is not a kubeconfig"),
        ("somebody: else\n", "is not a kubeconfig"),
        (b"\x80\x81", "cannot be read"),
        (None, "is a directory"),
    ],
)
def test_what_is_not_ours_to_replace_is_refused_before_anything_is_begun(
    tmp_path: Path, content: str | bytes | None, told: str
) -> None:
    path = tmp_path / "config"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=told):
        kubeconfig.check(path, "prod", merge=False)


def test_a_place_where_no_file_can_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no file can be made in"):
        kubeconfig.check(tmp_path / "file" / "folder" / "config", "prod", merge=False)


def test_our_own_a_new_and_a_merged_kubeconfig_may_be_written(tmp_path: Path) -> None:
    kubeconfig.check(tmp_path / "new" / "config", "prod", merge=False)
    kubeconfig.write(tmp_path / "config", ADMIN, "prod", merge=False)
    kubeconfig.check(tmp_path / "config", "prod", merge=False)
    (tmp_path / "others").write_text(OTHERS)
    kubeconfig.check(tmp_path / "others", "prod", merge=True)
    kubeconfig.write(tmp_path / "others", ADMIN, "prod", merge=True)
    with pytest.raises(UsageError, match="holds other clusters"):
        kubeconfig.check(tmp_path / "others", "prod", merge=False)
