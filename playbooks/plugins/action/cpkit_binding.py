"""Bind `kubeadm:cluster-admins` to cluster-admin with a credential that exists in memory only."""

from __future__ import annotations

from typing import Any

from cpkit.carried import CarryingAction
from cpkit.pki import Authorities
from cpkit.pki.node import super_admin


class ActionModule(CarryingAction):
    """The task must set `no_log` and `run_once`; a failure is returned as `problem`, for another task to tell."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Issue the credential for a day, and let the module on the node use it."""
        self.begin(tmp, task_vars)
        authorities = Authorities.from_files(self._task.args["authorities"])
        certificate, key = super_admin(authorities, key_type=self._task.args["key_type"])
        return self.quietly(
            "cpkit_binding",
            {"certificate": certificate, "key": key, "authority": authorities.cluster.bundle_pem},
            task_vars,
        )
