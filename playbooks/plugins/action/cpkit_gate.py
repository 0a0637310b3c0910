"""Ask the gate about a node: cpkit itself where it runs the play, and a cpkit of its own otherwise."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Fails with what speaks against it; changes nothing, in check mode neither."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        given = self._task.args
        asked = {
            "stage": given["stage"],
            "node": variables["inventory_hostname"],
            "wait": float(given["wait"]),
            "allow_degraded": bool(given["allow_degraded"]),
            "despite": list(given["despite"]),
        }
        descriptor = int(given["descriptor"])
        code, text = _ask(descriptor, asked) if descriptor >= 0 else _run(variables["inventory_dir"], asked)
        return {"changed": False, "failed": bool(code), "msg": text}


def _ask(descriptor: int, asked: dict[str, Any]) -> tuple[int, str]:
    mine, theirs = socket.socketpair()
    told = b""
    with mine, suppress(BrokenPipeError):
        with theirs, socket.socket(fileno=os.dup(descriptor)) as asking:
            socket.send_fds(asking, [json.dumps(asked).encode()], [theirs.fileno()])
        told = b"".join(iter(lambda: mine.recv(1 << 16), b""))
    if not told:
        raise AnsibleActionFail("cpkit ended before it answered.")
    answer = json.loads(told)
    return answer["code"], answer["text"]


def _run(inventory: str, asked: dict[str, Any]) -> tuple[int, str]:
    words = ["gate", asked["stage"], "--inventory", inventory, "--node", asked["node"], "--wait", str(asked["wait"])]
    words += ["--allow-degraded"] if asked["allow_degraded"] else []
    words += ["--despite", ",".join(asked["despite"])] if asked["despite"] else []
    done = subprocess.run([sys.executable, "-m", "cpkit", *words], capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout or done.stderr).strip()
