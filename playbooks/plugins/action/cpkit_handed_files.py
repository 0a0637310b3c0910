"""Lay files down whose contents come by an inherited descriptor, so that they are in no variable, argument or file."""

from __future__ import annotations

from typing import Any

from cpkit.carried import CarryingAction
from cpkit.handing import received
from cpkit.pki.node import mode_of


class ActionModule(CarryingAction):
    """The task must set `no_log`; a failure is returned as `problem`, for another task to tell."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run `cpkit_files` with them."""
        self.begin(tmp, task_vars)
        arguments = self._task.args
        held = received(int(arguments["descriptor"]))
        files = [
            {"path": path, "content": content, "mode": mode_of(path), "secret": True} for path, content in held.items()
        ]
        return self.quietly(
            "cpkit_files",
            {
                "files": files,
                "directories": arguments.get("directories", []),
                "keep": arguments.get("keep", ""),
            },
            task_vars,
        )
