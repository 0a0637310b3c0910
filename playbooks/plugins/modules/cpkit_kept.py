"""Ansible module: take a change of files back, or let go of what was kept for that."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpkit_kept
short_description: Put files back that C(cpkit_files) kept aside, or remove them
options:
  path:
    description: The folder given to C(cpkit_files) as C(keep).
    type: str
    required: true
  state:
    description: Whether to lay the kept files down where they were, or only to remove them from the folder.
    type: str
    choices: [restored, forgotten]
    required: true
author: cpkit
"""

EXAMPLES = r"""
- name: Take the change back
  cpkit_kept:
    path: /var/lib/cpkit/previous
    state: restored
"""

RETURN = r"""
paths:
  description: The files that were put back.
  type: list
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cpkit_kept import forget, kept, restore


def main() -> None:
    """Put back if asked, then remove."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["restored", "forgotten"], "required": True},
        },
        supports_check_mode=True,
    )
    folder, restoring = module.params["path"], module.params["state"] == "restored"
    if module.check_mode:
        paths = [str(entry["path"]) for entry in kept(folder)] if restoring else []
        module.exit_json(changed=Path(folder).is_dir(), paths=paths)
    paths = restore(folder) if restoring else []
    module.exit_json(changed=forget(folder) or bool(paths), paths=paths)


if __name__ == "__main__":
    main()
