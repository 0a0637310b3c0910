"""Ansible module: lay a set of files down on a node in one call, and have a unit run them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpkit_files
short_description: Lay files down at once, and have a systemd unit run them
description:
  - Every file is staged beside its target with its mode and owner, and synced.
  - Then all are renamed, back to back.
  - With O(unit), the unit is enabled and started.
  - A unit that runs is not restarted behind the user's back, see O(on_change).
  - A unit that runs another version than the one selected is changed, too, even if no file differs; so is one
    that was started with other flags than its file has, or whose files were changed by a run that was cut off
    before the restart.
  - The action plugin of the same name renders entries that name a C(template).
options:
  files:
    description:
      - Entries with C(path), C(content) or C(template), C(mode), and optionally C(owner), C(group), C(secret).
      - Or with C(path) and C(link), for the symbolic link that selects the version O(unit) runs.
    type: list
    elements: dict
    default: []
  directories:
    description: Entries with C(path), C(mode), and optionally C(owner) and C(group).
    type: list
    elements: dict
    default: []
  unit:
    description: The systemd unit that runs these files.
    type: str
    default: ""
  on_change:
    description: What to do with a unit that runs when its files would change.
    type: str
    choices: [refuse, restart, reload]
    default: refuse
  ready_url:
    description: A URL on the node that answers 200 once the unit works. Not asked where the node is not asked at all.
    type: str
    default: ""
  ready_authority:
    description: The CA bundle the URL's certificate is verified with.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for O(ready_url).
    type: int
    default: 60
  keep:
    description: A folder to keep replaced files in, until C(cpkit_kept) puts them back or removes them.
    type: str
    default: ""
  commands:
    description: Commands run after something changed, each a list of words.
    type: list
    elements: list
    default: []
  sets:
    description:
      - Further sets, each with any of the above, laid down one after the other, each once the one before it works.
      - For units of one machine that are set up together; it saves calls.
      - A set may name the C(role) whose templates it means, if that is not the one whose task this is.
    type: list
    elements: dict
    default: []
author: cpkit
"""

EXAMPLES = r"""
- name: Lay down and start etcd
  cpkit_files:
    files:
      - {path: /etc/systemd/system/etcd.service, template: etcd.service.j2, mode: "0644"}
    unit: etcd.service
"""

RETURN = r"""
paths:
  description: The files and directories that differed.
  type: list
  returned: always
unit_action:
  description: What was done to the unit, empty when nothing was needed.
  type: str
  returned: when a unit is named
units:
  description:
    - The units that differ, each with C(unit), C(action), which is start, enable, restart or reload, C(paths) and
      C(why), set when no file of it differs.
    - In check mode the action is what the change needs, whatever O(on_change) says.
  type: list
  returned: always
"""

import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cpkit_files import Plan
from ansible.module_utils.cpkit_kept import keep
from ansible.module_utils.cpkit_units import (
    PENDING,
    UNITS,
    UnitFailed,
    bring_up,
    is_up,
    lacks,
    other_flags,
    pending,
    properties,
    runs_elsewhere,
    systemctl,
    wait_until_it_runs_from,
    wait_until_ready,
    wait_until_started_with,
)

OPTIONS: dict[str, dict[str, Any]] = {
    "files": {"type": "list", "elements": "dict", "default": []},
    "directories": {"type": "list", "elements": "dict", "default": []},
    "unit": {"type": "str", "default": ""},
    "on_change": {"type": "str", "choices": ["refuse", "restart", "reload"], "default": "refuse"},
    "ready_url": {"type": "str", "default": ""},
    "ready_authority": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 60},
    "keep": {"type": "str", "default": ""},
    "commands": {"type": "list", "elements": "list", "default": []},
}


def main() -> None:
    """Lay the sets down, one after the other."""
    sets = {"sets": {"type": "list", "elements": "dict", "default": [], "options": OPTIONS}}
    module = AnsibleModule(argument_spec=OPTIONS | sets, supports_check_mode=True)
    done: dict[str, Any] = {"changed": False, "paths": [], "diff": [], "warnings": [], "unit_action": "", "units": []}
    for wanted in (module.params, *module.params["sets"]):
        lay_down(module, wanted, done)
    module.exit_json(**done)


def lay_down(module: AnsibleModule, wanted: dict[str, Any], done: dict[str, Any]) -> None:
    """Compare, refuse or apply, then bring the unit up; what was done is added to what was done before."""
    plan = Plan(wanted["files"], wanted["directories"])
    unit = wanted["unit"]
    state = properties(unit) if unit else {}
    other = _runs_otherwise(wanted, state)
    differs = bool(plan.paths or other)
    done["changed"] |= differs
    done["paths"] += plan.paths
    done["diff"] += plan.diffs() if module._diff else []  # noqa: SLF001
    if differs and wanted["on_change"] == "refuse" and is_up(state):
        if not module.check_mode:
            module.fail_json(
                msg=f"{unit} is running and these would change: {', '.join(plan.paths) or other}. "
                "Nothing was changed: a running control plane is reconfigured one node at a time, "
                "which bootstrap does not do. Look at it with cpkit plan, then cpkit reconfigure; for another version: "
                "cpkit upgrade.",
                **done,
            )
        done["warnings"].append(f"{unit} is running: bootstrap would refuse these changes")
    action = _needed(wanted, state, differs=differs)
    if action:
        done["units"].append({"unit": unit, "action": action, "paths": plan.paths, "why": "" if plan.paths else other})
    if module.check_mode:
        done["changed"] |= bool(action)
        return
    try:
        _apply(module, wanted, plan, differs=differs)
        if unit and (action := _bring_up(wanted, action, changed=differs)):
            done["unit_action"], done["changed"] = action, True
    except (UnitFailed, OSError, KeyError) as error:
        module.fail_json(msg=str(error), **done)


def _needed(wanted: dict[str, Any], state: dict[str, str], *, differs: bool) -> str:
    """What the unit needs: to take a change up if it runs, else to run; empty for nothing, and without a unit."""
    if not wanted["unit"]:
        return ""
    if differs and is_up(state):
        return "reload" if wanted["on_change"] == "reload" else "restart"
    return lacks(state)


def _apply(module: AnsibleModule, wanted: dict[str, Any], plan: Plan, *, differs: bool) -> None:
    if wanted["keep"] and plan.files:
        keep([str(entry["path"]) for entry in plan.files], wanted["keep"])
    if wanted["unit"] and differs and wanted["on_change"] == "restart":
        PENDING.mkdir(mode=0o755, parents=True, exist_ok=True)
        pending(wanted["unit"], PENDING).touch()
    plan.apply()
    if plan.paths:
        _run(module, wanted["commands"])


def _bring_up(wanted: dict[str, Any], needed: str, *, changed: bool) -> str:
    unit = str(wanted["unit"])
    if changed:
        systemctl("daemon-reload")
    action = ""
    try:
        if needed:
            action = bring_up(
                unit,
                restart=changed and wanted["on_change"] == "restart",
                reload=changed and wanted["on_change"] == "reload",
            )
    finally:
        pending(unit, PENDING).unlink(missing_ok=True)
    if action and (folders := _selected(wanted)):
        wait_until_it_runs_from(unit, folders)
    if action:
        wait_until_started_with(unit, _text(wanted))
    if wanted["ready_url"]:
        wait_until_ready(unit, str(wanted["ready_url"]), str(wanted["ready_authority"]), float(str(wanted["timeout"])))
    return action


def _runs_otherwise(wanted: dict[str, Any], state: dict[str, str]) -> str:
    """Why a unit has to be restarted though its files are right; empty when it has not, or does not run."""
    unit = str(wanted["unit"])
    if not is_up(state):
        return ""
    if program := runs_elsewhere(state, _selected(wanted)):
        return program
    flags = other_flags(state, _text(wanted))
    if not flags and not pending(unit, PENDING).exists():
        return ""
    return f"what {unit} was started with{f': {flags}' if flags else ''}"


def _text(wanted: dict[str, Any]) -> str:
    """The unit's own file, if it is among those that are laid down."""
    path = str(UNITS / str(wanted["unit"]))
    return next((str(entry["content"]) for entry in wanted["files"] if entry["path"] == path), "")


def _selected(wanted: dict[str, object]) -> list[str]:
    """The folders that hold the versions the links select."""
    files: list[dict[str, object]] = wanted["files"]  # type: ignore[assignment]
    return [str(Path(str(entry["path"])).parent / str(entry["link"])) for entry in files if "link" in entry]


def _run(module: AnsibleModule, commands: list[list[str]]) -> None:
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            module.fail_json(msg=f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


if __name__ == "__main__":
    main()
