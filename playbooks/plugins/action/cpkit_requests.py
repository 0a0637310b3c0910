"""Make keys and requests for leaves that are signed elsewhere, in the controller's memory; lay them down at once."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cpkit.carried import CarryingAction
from cpkit.pki import NodeIdentity
from cpkit.pki.requests import REQUESTS, request_files


class ActionModule(CarryingAction):
    """The task must set `no_log`; a failure is returned as `problem`, for another task to tell."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Plan the files of this node, and run `cpkit_files` with them."""
        self.begin(tmp, task_vars)
        arguments = dict(self._task.args)
        held, names = arguments.pop("held"), arguments.pop("names")
        identity = NodeIdentity(**arguments | {"extra_sans": tuple(arguments.get("extra_sans", ()))})
        files = [asdict(file) | {"secret": True} for file in request_files(identity, held, names)]
        directories = [{"path": REQUESTS, "mode": "0700"}] if files else []
        return self.quietly("cpkit_files", {"files": files, "directories": directories}, task_vars)
