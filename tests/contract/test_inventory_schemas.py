"""The JSON Schemas of an inventory, as a validator that editors use understands them."""

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from cpkit.inventory.schema import hosts_schema, variables_schema
from tests.contract.test_inventory_init import EXAMPLE, run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_editors_find_the_schema_that_the_files_name() -> None:
    run(*EXAMPLE)
    folder = Path("inventories/example")
    for name in ("hosts.yml", "group_vars/all.yml"):
        path = folder / name
        first = path.read_text().splitlines()[0]
        named = path.parent / first.removeprefix("# yaml-language-server: $schema=")
        jsonschema.validate(YAML(typ="safe").load(path), json.loads(named.read_text()))


def test_the_schema_refuses_what_load_refuses() -> None:
    schema_of = jsonschema.Draft202012Validator(variables_schema())
    good = {"cluster_name": "prod", "cluster_endpoint": "api.example.org"}
    assert schema_of.is_valid(good | {"x_mine": 1, "ansible_port": 22, "ansible_anything": True})
    bad: list[dict[str, object]] = [
        {"clustername": 1},
        {"pki_ca_days": 0},
        {"pki_key_type": "dsa"},
        {"etcd_extra_args": {"--v": "1"}},
    ]
    assert not any(schema_of.is_valid(good | wrong) for wrong in bad)
    assert not jsonschema.Draft202012Validator(hosts_schema()).is_valid({"all": {"host": {}}})
