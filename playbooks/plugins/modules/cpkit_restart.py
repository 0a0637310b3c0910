"""Ansible module: restart several systemd units of a node in the time that the slowest of them needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpkit_restart
short_description: Restart units together
description:
  - All begin to stop at once, so that etcd lets go of its watchers while the API server drains.
  - systemd starts them in its own order, each after those that it is ordered after.
options:
  units:
    description: The units, in the order of their start; what is restarted once, is listed once.
    type: list
    elements: str
    required: true
author: cpkit
"""

EXAMPLES = r"""
- name: Restart what reads them only at its start
  cpkit_restart:
    units: [etcd.service, kube-apiserver.service]
"""

RETURN = r"""
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cpkit_units import UnitFailed, restart_together


def main() -> None:
    """Restart, and wait until all run again."""
    module = AnsibleModule(
        argument_spec={"units": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True
    )
    units = module.params["units"]
    try:
        if not module.check_mode:
            restart_together(units)
    except UnitFailed as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(units))


if __name__ == "__main__":
    main()
