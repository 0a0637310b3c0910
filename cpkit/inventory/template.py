"""The text of a new inventory: every variable documented, from the model that checks it."""

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode

from cpkit.inventory.schema import CONNECTION, variables_schema
from cpkit.inventory.spec import ClusterSpec

WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z0-9._~/:+-]+")
_SURROGATES = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")
_TITLES = {
    "cluster": "The cluster",
    "artifacts": "Binaries",
    "pki": "Keys and certificates",
    "etcd": "etcd",
    "kube_apiserver": "kube-apiserver",
    "kube_controller_manager": "kube-controller-manager",
    "kube_scheduler": "kube-scheduler",
    "load_balancer": "Load balancers",
    "backup": "Backups",
    "renewal": "Renewal of leaves",
}
_SUGGESTIONS = {
    "ansible_user": "admin",
    "ansible_ssh_private_key_file": "~/.ssh/id_ed25519",
    "ansible_ssh_common_args": (
        "-o ProxyJump=admin@bastion.example.org -o UserKnownHostsFile={{ inventory_dir }}/known_hosts"
    ),
}

Machines = Iterable[tuple[str, str]]  # names and addresses


def hosts_yml(name: str, command: str, control_plane: Machines, load_balancers: Machines) -> str:
    """The text of hosts.yml."""
    return f"""\
# yaml-language-server: $schema=.schema/hosts.json
# The machines of the cluster {name}; their variables are in group_vars/all.yml. Written by
{_command(command)}
#
# ansible_host: {CONNECTION["ansible_host"]}
# node_address: {CONNECTION["node_address"]}
---
all:
  children:
    # 1, 3, 5 or 7 machines; none is special, and their order has no meaning.
    control_plane:
{_hosts(control_plane)}
    # The machines that share the endpoint's address, two for high availability.
    # With none, `hosts: {{}}`, the endpoint is a load balancer of yours.
    load_balancer:
{_hosts(load_balancers)}
"""


def all_yml(name: str, values: Mapping[str, str]) -> str:
    """The text of group_vars/all.yml: the values given, and every other variable's default as a comment."""
    parts = [
        f"""\
# yaml-language-server: $schema=../.schema/variables.json
# Variables of the cluster {name}. What is commented out shows its default (under SSH, an example).
# Names of your own begin with x_ or ansible_; any other unknown name is refused.
---""",
        "# --- SSH ---",
        *(_variable(variable, CONNECTION[variable], values, default) for variable, default in _SUGGESTIONS.items()),
    ]
    title = ""
    for variable, schema in variables_schema()["properties"].items():
        if variable not in ClusterSpec.model_fields:
            continue
        if (section := _section(variable)) != title:
            title = section
            parts.append(f"# --- {_TITLES.get(title, title)} ---")
        examples = [f"# For example: {scalar(example)}" for example in schema.get("examples", [])]
        parts.append(_variable(variable, _meaning(schema), values, schema.get("default"), examples))
    return "\n\n".join(parts).replace("---\n\n# --- SSH", "---\n# --- SSH") + "\n"


def scalar(value: Any) -> str:
    """A value on one line of YAML; text stays bare where nothing could take it for something else."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(scalar(item) for item in value) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    bare = _PLAIN.fullmatch(value) and _reads(value)
    return value if bare else _SURROGATES.sub(_beyond, json.dumps(value))


def _beyond(pair: re.Match[str]) -> str:
    """YAML writes in one escape what JSON writes as a pair of surrogates."""
    character = json.loads(f'"{pair[0]}"')
    return f"\\U{ord(character):08x}"


@lru_cache(maxsize=1024)
def _reads(text: str) -> bool:
    """Whether YAML 1.1 and 1.2 both read a bare word as that text."""
    for version in ("1.1", "1.2"):
        yaml = YAML(typ="safe", pure=True)
        yaml.version = version
        try:
            node = yaml.compose(text)
        except YAMLError:
            return False
        if not isinstance(node, ScalarNode) or node.value != text or not str(node.tag).endswith(":str"):
            return False
    return True


def _command(command: str) -> str:
    """A command line in comments, an option a line."""
    first, *rest = command.split(" --")
    return "\n".join([f"#   {first}", *(f"#     --{option}" for option in rest)]).replace("\n#     ", " \\\n#     ")


def _hosts(machines: Machines) -> str:
    lines = [f"        {scalar(name)}: {{ansible_host: {scalar(address)}}}" for name, address in machines]
    return "\n".join(["      hosts:", *lines]) if lines else "      hosts: {}"


def _variable(name: str, meaning: str, values: Mapping[str, str], default: Any, examples: Iterable[str] = ()) -> str:
    text = textwrap.fill(meaning, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    line = f"{name}: {scalar(values[name])}" if name in values else f"# {name}: {scalar(default)}"
    return "\n".join([text, *examples, line])


def _section(variable: str) -> str:
    return next((prefix for prefix in _TITLES if variable.startswith(f"{prefix}_")), variable)


def _meaning(schema: Mapping[str, Any]) -> str:
    said = [schema["description"]]
    if "enum" in schema:
        said.append(f"One of {', '.join(schema['enum'])}.")
    if "minimum" in schema:
        said.append(f"{schema['minimum']} to {schema['maximum']}.")
    return " ".join(said)
