"""Run one of cpkit's Ansible modules as a node does: the program that is sent to it, in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from cpkit import carried

# In the place of the program's last line, which runs the module: constants of it that the test puts elsewhere.
RUN = """
import json, pathlib
scope = {"__name__": NAME}
exec(compile(MODULE, NAME, "exec"), scope)
scope.update({name: pathlib.Path(path) for name, path in json.loads(CONSTANTS).items()})
scope["main"]()
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
    whole, last, _ = carried.program(name, arguments, check=check, diff=diff).rpartition("exec(compile(MODULE")
    assert last
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-IS", "-"],
        input=f"{whole}CONSTANTS = {json.dumps(constants or {})!r}\n{RUN}",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | ({"PATH": f"{path}:{os.environ['PATH']}"} if path else {}),
    )
    told = carried.answer(name, done.returncode, done.stdout, done.stderr)
    return Answer(told, done.stdout + done.stderr)
