"""Ansible module: take a restore of etcd one stage further on a node, or back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpkit_restore
short_description: Take a restore of etcd one stage further on a node, or back
description:
  - Each stage may be cut off anywhere and asked for again; one that was reached is not gone through again.
  - A file on the node says how far the restore has come, and belongs to one backup.
  - From the stage C(quiet) on, the services are kept from starting, across reboots too, until it is their turn.
  - A stage must be reached on every node before the next one is begun on any; that is the play's part.
options:
  stage:
    description:
      - C(begun), C(prepared) touch nothing that runs. C(prepared) makes the new data beside the old.
      - C(quiet) ends the controllers and the API server.
      - C(switched) ends etcd, moves the old data aside and the new one in place.
      - C(started), C(serving), C(done) start the services. After C(started) was begun there is no way back.
      - C(aborting), C(reverted), C(resumed), C(aborted) go back to the old data.
    type: str
    required: true
    choices: [begun, prepared, quiet, switched, started, serving, done, aborting, reverted, resumed, aborted]
  restore:
    description: What tells this restore from others.
    type: str
    required: true
  backup:
    description: The backup's name.
    type: str
    default: ""
  sha256:
    description: The digest of the snapshot.
    type: str
    default: ""
  member:
    description: What etcdutl is told of this member, C(name), C(initial_cluster), C(token) and C(peer_url).
    type: dict
    default: {}
  data_dir:
    description: etcd's data directory.
    type: str
    default: /var/lib/etcd
  owner:
    description: Whom etcd's data belongs to.
    type: str
    default: etcd
  ready_url:
    description: A URL on the node that answers 200 once its API server works.
    type: str
    default: https://127.0.0.1:6443/readyz
  ready_authority:
    description: The CA bundle the URL's certificate is verified with.
    type: str
    default: /etc/kubernetes/pki/ca.crt
  timeout:
    description: Seconds to wait for O(ready_url).
    type: int
    default: 120
author: cpkit
"""

EXAMPLES = r"""
- name: Put the new data in the place of the old
  cpkit_restore:
    stage: switched
    restore: 20310506T070809Z-1f2e
"""

RETURN = r"""
reached:
  description: How far the restore has come on this node.
  type: str
  returned: always
aside:
  description: Where the old data is.
  type: str
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cpkit_back import Back
from ansible.module_utils.cpkit_forward import Forward
from ansible.module_utils.cpkit_restore import BACK, STAGES, Trouble, alone
from ansible.module_utils.cpkit_units import UnitFailed

MARKER = Path("/var/lib/cpkit/restore.json")
SNAPSHOTS = Path("/var/lib/cpkit/restore")
UNITS = Path("/etc/systemd/system")
FIRST = Path("/run/systemd/system/etcd.service.d/cpkit-first-start.conf")
ETCDUTL = Path("/opt/cpkit/etcd/current/etcdutl")
CHOICES = [*(stage for stage in STAGES if stage not in {"held", "stopped", "committed"}), *BACK]


def main() -> None:
    """Go through the stage that is asked for."""
    module = AnsibleModule(
        argument_spec={
            "stage": {
                "type": "str",
                "required": True,
                "choices": CHOICES,
            },
            "restore": {"type": "str", "required": True},
            "backup": {"type": "str", "default": ""},
            "sha256": {"type": "str", "default": ""},
            "member": {"type": "dict", "default": {}},
            "data_dir": {"type": "str", "default": "/var/lib/etcd"},
            "owner": {"type": "str", "default": "etcd"},
            "ready_url": {"type": "str", "default": "https://127.0.0.1:6443/readyz"},
            "ready_authority": {"type": "str", "default": "/etc/kubernetes/pki/ca.crt"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    stage = module.params["stage"]
    try:
        with alone(MARKER.with_suffix(".lock")):
            way = (Back if stage in BACK else Forward)(
                module.params, marker=MARKER, snapshots=SNAPSHOTS, units=UNITS, first=FIRST, etcdutl=ETCDUTL
            )
            changed = way.would(stage) if module.check_mode else way.go(stage)
    except (Trouble, UnitFailed, OSError, KeyError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, reached=way.marker.stage, aside=str(way.data.old))


if __name__ == "__main__":
    main()
