"""Ansible module: take the cluster's lock on a node, and read what the machine already holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpkit_claim
short_description: Take or release the cluster's lock on a node, and read what the node holds
description:
  - The lock is a file under /run, so it does not outlive a reboot. The owner that holds it may take it again.
  - Nothing is written besides the lock. Contents of private keys are returned, so the task must set C(no_log).
options:
  state:
    description: Whether to take or release the lock, or only to read.
    type: str
    choices: [taken, released, read]
    default: taken
  owner:
    description: Who takes the lock, as shown to others.
    type: str
    required: true
  paths:
    description: Files whose contents are returned where they exist.
    type: list
    elements: str
    default: []
  looked_at:
    description: Further files, directories and links, or patterns, of which only attributes and digests are returned.
    type: list
    elements: str
    default: []
  units:
    description: systemd units that are looked at.
    type: list
    elements: str
    default: []
  binaries:
    description: Where binaries live.
    type: str
    default: /opt/cpkit
  etcd_data_dir:
    description: etcd's data directory.
    type: str
    default: /var/lib/etcd
  during_restore:
    description: Whether the lock may be taken while a restore is under way on the node.
    type: bool
    default: false
  address:
    description: An address of this machine, whose interface is looked for.
    type: str
    default: ""
  commands:
    description: Commands looked for on the path of root.
    type: list
    elements: str
    default: []
author: cpkit
"""

EXAMPLES = r"""
- name: Take the cluster's lock
  cpkit_claim:
    owner: alice@workstation
"""

RETURN = r"""
problem:
  description: Why the lock was not taken, empty if it was. The module does not fail, as C(no_log) would hide why.
  type: str
  returned: when not released
held:
  description: Path to content, for each of O(paths) that exists.
  type: dict
  returned: when not released
seen:
  description:
    - Path to C(mode), C(owner), C(group), C(primary) and for files C(sha256), for each of O(paths) and O(looked_at).
    - Of a link only C(link), where it leads.
    - What is as it should be needs no further call.
  type: dict
  returned: when not released
running:
  description: Those of O(units) that are up, now and after a boot, from the program and with the flags of their files.
  type: list
  returned: when not released
verified:
  description: Path to checksum, of each binary that is as it was when it was verified.
  type: dict
  returned: when not released
selected:
  description: Component to the version of its binaries that is selected.
  type: dict
  returned: when not released
started:
  description: Whether etcd has ever started here.
  type: bool
  returned: when not released
established:
  description: Whether an API server was set up here, so etcd was up on all nodes once.
  type: bool
  returned: when not released
interface:
  description: The interface that has O(address), empty when none has.
  type: str
  returned: when not released
missing:
  description: Those of O(commands) that are not there.
  type: list
  returned: when not released
"""

import json
import shutil
import subprocess
from pathlib import Path

from ansible.module_utils import cpkit_lock
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cpkit_files import look
from ansible.module_utils.cpkit_units import runs_as_its_file_says
from ansible.module_utils.cpkit_verified import Record

LOCK = cpkit_lock.LOCK
RESTORE = cpkit_lock.RESTORE
API_SERVER = Path("/etc/systemd/system/kube-apiserver.service")
NOTHING: dict[str, object] = {"held": {}, "seen": {}, "running": [], "verified": {}, "selected": {}}
ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def interface_of(address: str) -> str:
    """The interface that has an address; empty when none has."""
    if not address:
        return ""
    listing = subprocess.run(["ip", "-json", "address"], capture_output=True, text=True, check=True).stdout
    for link in json.loads(listing):
        if any(entry.get("local") == address for entry in link.get("addr_info", [])):
            return str(link["ifname"])
    return ""


def found(paths: list[str]) -> list[str]:
    """These paths, and what fits those that are patterns."""
    return [str(each) for path in paths for each in (Path("/").glob(path[1:]) if "*" in path else [Path(path)])]


def main() -> None:
    """Take, release or only read."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["taken", "released", "read"], "default": "taken"},
            "owner": {"type": "str", "required": True},
            "paths": {"type": "list", "elements": "str", "default": []},
            "looked_at": {"type": "list", "elements": "str", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "binaries": {"type": "str", "default": "/opt/cpkit"},
            "etcd_data_dir": {"type": "str", "default": "/var/lib/etcd"},
            "during_restore": {"type": "bool", "default": False},
            "address": {"type": "str", "default": ""},
            "commands": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    if wanted["state"] == "released":
        if not module.check_mode:
            cpkit_lock.release(LOCK, wanted["owner"])
        module.exit_json(changed=False)
    under_way = "" if wanted["state"] == "read" or wanted["during_restore"] else cpkit_lock.restoring(RESTORE)
    nothing = {"started": False, "established": False, "interface": "", "missing": []} | NOTHING
    if under_way:
        module.exit_json(changed=False, problem=under_way, **nothing)
    refusal = cpkit_lock.take(LOCK, wanted["owner"]) if wanted["state"] == "taken" and not module.check_mode else ""
    if refusal:
        problem = f"{refusal}. If that run is dead, take the lock away: cpkit unlock"
        module.exit_json(changed=False, problem=problem, **nothing)
    files = [Path(path) for path in wanted["paths"]]
    seen = {path: look(Path(path)) for path in (*wanted["paths"], *found(wanted["looked_at"]))}
    record = Record(Path(wanted["binaries"]))
    module.exit_json(
        changed=False,
        problem="",
        interface=interface_of(wanted["address"]),
        missing=[name for name in wanted["commands"] if not shutil.which(name, path=ROOT_PATH)],
        held={str(path): path.read_text() for path in files if path.is_file()},
        seen={path: told for path, told in seen.items() if told},
        running=[unit for unit in wanted["units"] if runs_as_its_file_says(unit)],
        verified=record.unchanged(),
        selected=record.selected(),
        # etcd's own criterion: a start that etcd refused leaves all but the log behind.
        started=any((Path(wanted["etcd_data_dir"]) / "member" / "wal").glob("*.wal")),
        established=API_SERVER.is_file(),
    )


if __name__ == "__main__":
    main()
