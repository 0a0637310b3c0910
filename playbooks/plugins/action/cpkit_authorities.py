"""Adopt the authorities the nodes hold, or create those of a new cluster; all in the controller's memory."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from cpkit.continuity import refuse_lost_data
from cpkit.errors import CpkitError
from cpkit.pki import adopt, create


class ActionModule(ActionBase):
    """Returns the shared files; the task must set `no_log` and `run_once`.

    A refusal is returned as `problem`, for a task that may be logged to fail with: `no_log` would hide it here.
    """

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge what every control-plane node returned to `cpkit_claim`."""
        super().run(tmp, task_vars)
        claims = self._task.args["claims"]
        try:
            refuse_lost_data(
                {name: claim["started"] for name, claim in claims.items() if name not in self._task.args["joining"]},
                established=any(claim["established"] for claim in claims.values()),
            )
            authorities = adopt(
                {name: claim["held"] for name, claim in claims.items()},
                started=any(claim["started"] for claim in claims.values()),
            )
        except CpkitError as error:
            return {"changed": False, "problem": f"{error}. {error.hint}"}
        created = authorities is None
        authorities = authorities or create(
            key_type=self._task.args["key_type"], ca_days=int(self._task.args["ca_days"])
        )
        return {"changed": False, "problem": "", "created": created, "files": authorities.files()}
