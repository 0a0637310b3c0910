"""What a node is given so that it renews its leaves by itself: the program as text, and its settings."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import cpkit
from cpkit.health.certs import SERVERS, authority_of
from cpkit.paths import ansible_root
from cpkit.pki.leaves import ADMIN, NAMES, leaf_path
from cpkit.renewing.settings import Leaf, Settings

PROGRAM = "/opt/cpkit/renewal"
SETTINGS = "/etc/cpkit/renewal.json"
MAIN = "import sys\n\nfrom cpkit.renewing.program import main\n\nsys.exit(main())\n"
# No __init__.py: theirs import what a node does not have, and Python needs none.
OWN = ("der", "holding", "laying", "openssl", "program", "record", "settings", "use")
# Those of the agent that they use, and its empty __init__.py: that goes before the agent.py of an earlier program.
READING = ("__init__", "asking", "certificates", "files", "gathering", "handshakes", "probes")
MODULES = (
    *("errors", "pki/renewal", "node/gateway", "node/lock", "node/program", "node/telling"),
    *(f"facts/agent/{name}" for name in READING),
    *(f"renewing/{name}" for name in OWN),
)
UTILITIES = ("cpkit_files", "cpkit_kept", "cpkit_lock")  # that Ansible brings to nodes as well


def program() -> dict[str, str]:
    """The files of the program, by their path on the node."""
    root, utilities = Path(cpkit.__file__).parent, ansible_root() / "playbooks/plugins/module_utils"
    found = {f"{PROGRAM}/cpkit/{name}.py": (root / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    found |= {
        f"{PROGRAM}/ansible/module_utils/{name}.py": (utilities / f"{name}.py").read_text(encoding="utf-8")
        for name in UTILITIES
    }
    return found | {f"{PROGRAM}/__main__.py": MAIN}


def settings(told: Mapping[str, object]) -> dict[str, str]:
    """The settings of a node as the file that holds them; `told` is what the role knows."""
    whole = Settings(leaves=tuple(map(leaf, NAMES)), **told)  # type: ignore[arg-type]
    return {SETTINGS: json.dumps(asdict(whole), indent=2, sort_keys=True) + "\n"}


def leaf(name: str) -> Leaf:
    """Where a leaf lies on every node."""
    path = leaf_path(name)
    authority = authority_of(path)
    ports = {file: port for port, (_, file) in SERVERS.items()}
    key = "" if path == ADMIN else path.replace(".crt", ".key")
    return Leaf(name, path, key, authority, authority.replace(".crt", ".key"), ports.get(path, ""))
