"""Run one of cpkit's Ansible modules as a node would: a process, arguments as JSON, an answer as JSON."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLUGINS = Path(__file__).parents[2] / "playbooks" / "plugins"

# What Ansible's own wrapper does on a node, and constants of the module that the test puts elsewhere.
START = """
import importlib.util, json, pathlib, sys
import ansible.module_utils
from ansible.module_utils import basic

plugins, name, arguments, constants = sys.argv[1], sys.argv[2], sys.stdin.read(), json.loads(sys.argv[3])
ansible.module_utils.__path__.append(f"{plugins}/module_utils")
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = arguments.encode(), "legacy"
spec = importlib.util.spec_from_file_location(name, f"{plugins}/modules/{name}.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for constant, path in constants.items():
    setattr(module, constant, pathlib.Path(path))
module.main()
"""


@dataclass(frozen=True)
class Answer:
    """What a module said."""

    values: dict[str, Any]
    text: str

    @property
    def changed(self) -> bool:
        return bool(self.values["changed"])

    @property
    def problem(self) -> str:
        """Why it failed, empty if it did not."""
        return str(self.values["msg"]) if self.values.get("failed") else ""


def call(
    name: str,
    arguments: dict[str, Any],
    *,
    check: bool = False,
    diff: bool = False,
    constants: dict[str, str] | None = None,
    path: str = "",
) -> Answer:
    """Run a module to its end."""
    body = {"ANSIBLE_MODULE_ARGS": arguments | {"_ansible_check_mode": check, "_ansible_diff": diff}}
    done = subprocess.run(
        [sys.executable, "-c", START, str(PLUGINS), name, json.dumps(constants or {})],
        input=json.dumps(body),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | ({"PATH": f"{path}:{os.environ['PATH']}"} if path else {}),
    )
    assert done.stdout, done.stderr
    return Answer(json.loads(done.stdout), done.stdout + done.stderr)
