"""The roles, the playbooks and the model of an inventory say the same of every variable."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined
from ruamel.yaml import YAML

from cpkit.inventory import ClusterSpec, load
from cpkit.paths import ansible_root

ROOT = ansible_root()
FIELDS = ClusterSpec.model_fields
KINDS = {"string": "str", "integer": "int", "boolean": "bool", "object": "dict", "array": "list"}
ROLES = sorted(path.parent.parent.name for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"))


def read(path: str) -> dict[str, Any]:
    file = ROOT / path
    return YAML(typ="safe").load(file) or {} if file.exists() else {}


@cache
def options(role: str) -> dict[str, dict[str, Any]]:
    """Every variable of a role, from all its entry points."""
    points = read(f"roles/{role}/meta/argument_specs.yml")["argument_specs"].values()
    return {name: option for point in points for name, option in point.get("options", {}).items()}


@cache
def model() -> dict[str, dict[str, Any]]:
    """The model's variables with their defaults as YAML has them."""
    properties: dict[str, dict[str, Any]] = ClusterSpec.model_json_schema()["properties"]
    return properties


def owner(name: str) -> str:
    """The role whose prefix a variable carries; '' for those of all roles."""
    return max((role for role in ROLES if name.startswith(f"{role}_")), key=len, default="")


SHARED = [name for name in FIELDS if name.startswith("cluster_")]
OWN = [name for name in FIELDS if not name.startswith(("cluster_", "backup_", "renewal_"))]
TOLD = [(role, name) for role in ROLES for name in options(role) if name in FIELDS]


def test_all_roles_are_specified() -> None:
    assert sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir()) == ROLES
    assert len(TOLD) >= len(OWN)


@pytest.mark.parametrize("name", OWN)
def test_a_variable_belongs_to_the_role_that_its_prefix_names(name: str) -> None:
    role = owner(name)
    assert name in options(role)
    assert options(role)[name]["default"] == model()[name]["default"]
    assert read(f"roles/{role}/defaults/main.yml")[name] == model()[name]["default"]


@pytest.mark.parametrize(("role", "name"), TOLD)
def test_a_role_tells_what_the_model_tells(role: str, name: str) -> None:
    option, schema = options(role)[name], model()[name]
    assert option["type"] == KINDS[schema["type"]]
    assert option.get("choices") == schema.get("enum")
    assert option.get("elements") == (KINDS[schema["items"]["type"]] if schema["type"] == "array" else None)
    assert option.get("required", False) == FIELDS[name].is_required()
    told, meant = " ".join(option["description"].split()), str(schema["description"])
    # A role may add how it uses a variable, and tell of a shared one only that.
    assert told.startswith(meant) if owner(name) == role else told


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_no_setting_that_an_inventory_would_refuse(role: str) -> None:
    unknown = {name for name in options(role) if name not in FIELDS and name != "node_address"}
    settable = any(owner(name) == role for name in FIELDS)
    # Roles without any variable of the inventory take parameters from plays alone, under their own prefix.
    assert unknown == set() if settable else all(name.startswith(f"{role}_") for name in unknown)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_specified_and_internals_are_marked(role: str) -> None:
    defaults = read(f"roles/{role}/defaults/main.yml")
    assert set(defaults) <= set(options(role))
    for name, value in defaults.items():
        if "{{" not in str(value):
            assert options(role)[name].get("default", value) == value
    for file in (ROOT / "roles" / role / "vars").glob("*.yml"):
        assert all(name.startswith(f"{role}__") for name in read(str(file.relative_to(ROOT)))), file


def test_the_playbooks_defaults_are_the_models() -> None:
    variables = read("playbooks/group_vars/all.yml")
    told = {name: value for name, value in variables.items() if not name.startswith("cluster__")}
    optional = {name for name in SHARED if FIELDS[name].default is not PydanticUndefined}
    assert set(told) == optional | {"node_address"}
    for name in optional - {"cluster_kubernetes_version"}:
        assert told[name] == model()[name]["default"], name


@pytest.mark.parametrize("minor", ["", "1.35.4", "1.37.2"])
def test_what_plays_work_out_is_what_cpkit_works_out(tmp_path: Path, minor: str) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "hosts.yml").write_text(
        "all: {children: {control_plane: {hosts: {b: {ansible_host: 192.0.2.2}, a: {ansible_host: x, node_address: "
        "192.0.2.1}, c: {ansible_host: 192.0.2.3}}}}}\n"
    )
    version = f"cluster_kubernetes_version: {minor}\n" if minor else ""
    (tmp_path / "group_vars" / "all.yml").write_text(
        f"cluster_name: prod\ncluster_endpoint: api.example.org:443\ncluster_service_cidr: 10.7.0.0/16\n{version}"
    )
    cluster = load(tmp_path)
    said = worked_out(
        tmp_path, "kubernetes", "etcd", "endpoint_host", "endpoint_port", "service_address", "etcd_servers"
    )
    assert said == {
        "kubernetes": str(cluster.spec.kubernetes),
        "etcd": str(cluster.spec.etcd),
        "endpoint_host": cluster.endpoint.host,
        "endpoint_port": str(cluster.endpoint.port),
        "service_address": cluster.service_address,
        "etcd_servers": [f"https://192.0.2.{number}:2379" for number in (1, 2, 3)],
    }


def worked_out(inventory: Path, *names: str) -> dict[str, Any]:
    """The values of `cluster__` variables as a play on node a would see them."""
    message = "{" + ", ".join(f"'{name}': cluster__{name}" for name in names) + "}"
    words = ["ansible", "a", "-i", str(inventory), "--playbook-dir", str(ROOT / "playbooks"), "--one-line"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name(words[0])), *words[1:], "-m", "debug", "-a", f"msg={{{{ {message} }}}}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "playbooks" / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.partition("=>")[2])["msg"]
    return answer
