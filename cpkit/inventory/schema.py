"""JSON Schemas of an inventory's files, for editors; made from the same model that checks them."""

from copy import deepcopy
from functools import cache
from typing import Any

from cpkit.inventory.spec import ClusterSpec

DRAFT = "https://json-schema.org/draft/2020-12/schema"

# Connection variables that cpkit reads, with what they mean; Ansible's other ones pass unread.
CONNECTION = {
    "ansible_host": "Where SSH reaches the machine.",
    "node_address": "IPv4 address where the other nodes reach it; ansible_host if left out.",
    "ansible_port": "Port of its SSH server.",
    "ansible_user": "Who logs in; has sudo, unless it is root.",
    "ansible_ssh_private_key_file": "Private key to log in with, and no other; left out, the SSH agent's and ~/.ssh's.",
    "ansible_ssh_common_args": "Options of ssh, of which cpkit reads ProxyJump and UserKnownHostsFile.",
    "ansible_become": "Whether to use sudo.",
}


def variables_schema() -> dict[str, Any]:
    """The schema of group_vars/all.yml."""
    schema = deepcopy(_model())
    for variable in schema["properties"].values():
        if "patternProperties" in variable:
            variable["additionalProperties"] = False
    schema["properties"] |= _connection()
    return {
        "$schema": DRAFT,
        **schema,
        "title": "Variables of a cpkit cluster",
        "patternProperties": {"^(ansible_|x_)": {}},
        "additionalProperties": False,
    }


@cache
def _model() -> dict[str, Any]:
    return ClusterSpec.model_json_schema()


def hosts_schema() -> dict[str, Any]:
    """The schema of hosts.yml."""
    host = {"type": ["object", "null"], "properties": _connection()}
    group = {
        "type": ["object", "null"],
        "properties": {
            "hosts": {"type": ["object", "null"], "additionalProperties": {"$ref": "#/$defs/host"}},
            "children": {"type": ["object", "null"], "additionalProperties": {"$ref": "#/$defs/group"}},
            "vars": {"type": ["object", "null"]},
        },
        "additionalProperties": False,
    }
    return {
        "$schema": DRAFT,
        "title": "Machines of a cpkit cluster",
        "type": "object",
        "required": ["all"],
        "additionalProperties": {"$ref": "#/$defs/group"},
        "$defs": {"host": host, "group": group},
    }


def _connection() -> dict[str, Any]:
    kinds: dict[str, Any] = {"ansible_port": {"type": "integer", "minimum": 1, "maximum": 65535}}
    kinds["ansible_become"] = {"type": "boolean"}
    return {name: {"description": text, **kinds.get(name, {"type": "string"})} for name, text in CONNECTION.items()}
