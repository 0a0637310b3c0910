"""One of cpkit's Ansible modules as a program of its own, which a node's Python reads from its standard input.

Ansible's way of carrying a module brings thirty files of its own along, which the node unpacks and compiles anew for
each call: on five nodes 2.0 s for a module that does nothing, and 0.9 s like this. The modules are Ansible's as before
(`ansible-doc` reads them); what they use of it is put in its place here: arguments by their specification, and answers.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from cpkit.packed import packed
from cpkit.paths import ansible_root

UTILITIES, BASIC = "ansible.module_utils", "ansible.module_utils.basic"
IMPORTED = re.compile(r"^from ansible\.module_utils(?:\.(\w+))? import (.*)$", re.MULTILINE)
PYTHON = "/usr/bin/python3"
ANSWER = "cpkit-answer:"  # the line of standard output that begins so is the module's, and no other one

# What the program does: `GIVEN` is what carried_basic.py asks for.
START = """
sys.modules["cpkit_given"] = type(sys)("cpkit_given")
sys.modules["cpkit_given"].__dict__.update(GIVEN)
exec(compile(MODULE, NAME, "exec"), {"__name__": "__main__"})
"""


class CarryingAction(ActionBase):  # type: ignore[misc]
    """The action of one of cpkit's modules: has its own do the work on the node, unless a plugin adds to it."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module of the task's own name, with the task's arguments."""
        self.begin(tmp, task_vars)
        return self.on_node(self._task.action.rpartition(".")[2], self._task.args, task_vars)

    def begin(self, tmp: str | None, task_vars: dict[str, Any] | None) -> None:
        """What Ansible wants of every action first."""
        super().run(tmp, task_vars)

    def on_node(self, name: str, arguments: Mapping[str, Any], variables: dict[str, Any] | None) -> dict[str, Any]:
        """Run a module on the node; what it answered."""
        python = str((variables or {}).get("ansible_python_interpreter") or PYTHON)
        python = PYTHON if python.startswith("auto") else python
        text = program(name, arguments, check=bool(self._task.check_mode), diff=bool(self._task.diff))
        done = self._low_level_execute_command(f"{python} -X utf8 -IS -", in_data=text.encode())
        return answer(name, done["rc"], done["stdout"], done["stderr"])

    def quietly(self, name: str, arguments: Mapping[str, Any], variables: dict[str, Any] | None) -> dict[str, Any]:
        """The same for a task with `no_log`: a failure is told as `problem`, which another task may log."""
        result = self.on_node(name, arguments, variables)
        problem = result.get("msg", "failed without a message") if result.pop("failed", False) else ""
        return result | {"problem": problem}


def program(name: str, arguments: Mapping[str, Any], *, check: bool, diff: bool) -> str:
    """The whole program; arguments may be Ansible's own kinds of text, lists and dictionaries."""
    given = {"ARGUMENTS": json.dumps(_plain(arguments)), "CHECK": check, "DIFF": diff, "ANSWER": ANSWER}
    module, sources = _sources(name)
    return packed(sources, START, NAME=name, MODULE=module, GIVEN=given)


def answer(name: str, code: int, said: str, complained: str) -> dict[str, Any]:
    """What a module has answered; one that ended otherwise has failed, with the last it said."""
    for line in said.split("\n"):
        if line.startswith(ANSWER):
            told: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
            return told
    lines = (complained or said).strip().splitlines()
    return {"failed": True, "rc": code, "msg": f"{name} ended with {code}: {lines[-1] if lines else 'it said nothing'}"}


@cache
def _sources(name: str) -> tuple[str, dict[str, str]]:
    """The text of a module, and that of all it imports of Ansible's, by name; packages have none."""
    plugins = ansible_root() / "playbooks" / "plugins"
    module = (plugins / "modules" / f"{name}.py").read_text(encoding="utf-8")
    found = {"ansible": "", UTILITIES: "", BASIC: Path(__file__).with_name("carried_basic.py").read_text("utf-8")}
    waiting = [*_imported(module)]
    while waiting:
        utility = waiting.pop()
        if utility not in found:
            path = plugins / "module_utils" / f"{utility.rpartition('.')[2]}.py"
            found[utility] = path.read_text(encoding="utf-8")
            waiting += _imported(found[utility])
    return module, found


def _imported(source: str) -> Iterator[str]:
    for utility, names in IMPORTED.findall(source):
        yield from (f"{UTILITIES}.{name.strip()}" for name in ([utility] if utility else names.split(",")))


def _plain(value: object) -> object:
    """The same value of Python's own kinds: Ansible's fill their templates in while they are gone through."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
