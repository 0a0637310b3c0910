"""Ansible module: stop units and take files away, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpkit_absent
short_description: Stop units, and take files and folders away
options:
  units:
    description: Units that are stopped and disabled first.
    type: list
    elements: str
    default: []
  commands:
    description: Commands run after that, each a list of words, while the files are still there.
    type: list
    elements: list
    default: []
  paths:
    description: Files and folders to take away; the last one goes last, and tells whether the commands are to be run.
    type: list
    elements: str
    required: true
author: cpkit
"""

EXAMPLES = r"""
- name: Take the timer away
  cpkit_absent:
    units: [cpkit-backup.timer]
    paths: [/etc/systemd/system/cpkit-backup.timer]
"""

RETURN = r"""
paths:
  description: What was there.
  type: list
  returned: always
"""

import os
import shutil
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cpkit_units import systemctl


def main() -> None:
    """Stop, run, remove."""
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            "commands": {"type": "list", "elements": "list", "default": []},
            "paths": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    there = [path for path in wanted["paths"] if os.path.lexists(path)]
    diff = [{"before_header": path, "after_header": path, "before": "present\n", "after": "absent\n"} for path in there]
    if there and not module.check_mode:
        for unit in wanted["units"]:
            systemctl("disable", "--now", "--quiet", unit, check=False)
            systemctl("stop", unit, check=False)
            systemctl("reset-failed", unit, check=False)
        for command in wanted["commands"] if wanted["paths"][-1] in there else []:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                module.fail_json(msg=f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        for path in there:
            remove(Path(path))
        if wanted["units"]:
            systemctl("daemon-reload")
    module.exit_json(changed=bool(there), paths=there, diff=diff if module._diff else [])  # noqa: SLF001


def remove(path: Path) -> None:
    """Take a file, a link or a whole folder away."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


if __name__ == "__main__":
    main()
