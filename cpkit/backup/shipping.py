"""What a node is given for its scheduled backups: the program as text, the settings, and the inventory."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import cpkit
from cpkit import __version__
from cpkit.backup.node.settings import Settings
from cpkit.backup.node.signing import Credentials
from cpkit.backup.parts import ON_A_NODE, inventory_parts, part_name

PROGRAM = "/opt/cpkit/backup"
SETTINGS = "/etc/cpkit/backup.json"
CREDENTIALS = "/etc/cpkit/backup-s3.json"
INVENTORY = "/etc/cpkit/backup-inventory.json"
MAIN = "import sys\n\nfrom cpkit.backup.node.program import main\n\nsys.exit(main())\n"
# No __init__.py: theirs import what a node does not have, and Python needs none.
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
BACKUP = """
    ahead archive bolt bolt_format catalogue chain database errors keys majority manifest manifest_json naming
    resources retention sealing segment streams taking stores/directory stores/model stores/s3_streams
    node/program node/record node/s3 node/s3_calls node/sealing node/settings node/sftp node/signing node/stores
    node/taking
"""
NODE = ("node/calendar", "node/gateway", "node/lock", "node/program", "node/telling")
MODULES = ("errors", *NODE, *(f"backup/{name}" for name in BACKUP.split()))


def program() -> dict[str, str]:
    """The files of the program, by their path on the node."""
    root = Path(cpkit.__file__).parent
    found = {f"{PROGRAM}/cpkit/{name}.py": (root / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    return found | {f"{PROGRAM}/__main__.py": MAIN}


def settings(hosts: Path, told: Mapping[str, object]) -> dict[str, str]:
    """The settings of a node and the inventory, as the files that hold them; `told` is what the role knows."""
    parts, without = inventory_parts(hosts)
    whole = Settings(
        files={path: part_name(path) for path in ON_A_NODE},
        components={name: f"/opt/cpkit/{name}/current" for name in COMPONENTS},
        inventory=INVENTORY,
        s3_credentials=CREDENTIALS,
        without=without,
        cpkit=__version__,
        **told,  # type: ignore[arg-type]
    )
    held = {name: data.decode("utf-8", "surrogateescape") for name, data in parts.items()}
    return {SETTINGS: _json(asdict(whole)), INVENTORY: _json(held)}


def credentials(held: Credentials | None) -> dict[str, str]:
    """The file that holds the credentials of an S3 store; none for another store."""
    return {CREDENTIALS: _json(asdict(held))} if held else {}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
