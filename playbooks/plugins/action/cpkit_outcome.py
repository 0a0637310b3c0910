"""Tell how a task ended that handles keys and must not be logged: its problem, or the paths that it changed."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Fails with `problem` unless that is empty; `paths` are told by name alone."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Nothing is done on the node."""
        super().run(tmp, task_vars)
        problem = str(self._task.args.get("problem") or "")
        if problem:
            raise AnsibleActionFail(problem)
        return {"changed": False, "paths": list(self._task.args.get("paths") or [])}
