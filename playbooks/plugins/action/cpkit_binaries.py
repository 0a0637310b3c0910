"""Send the binaries a node lacks from the controller's verified cache, and have the module put them in place."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail

from cpkit import artifacts
from cpkit.carried import CarryingAction
from cpkit.errors import CpkitError
from cpkit.paths import cache_dir
from cpkit.versions import Version

ROOT = "/opt/cpkit"  # where the module puts binaries


class ActionModule(CarryingAction):
    """Each content is sent once, whatever the number of its names."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the node what it lacks, send that, and install."""
        self.begin(tmp, task_vars)
        arguments = self._task.args
        try:
            bundle = artifacts.cached(Version.parse(arguments["kubernetes"]), Version.parse(arguments["etcd"]))
        except CpkitError as error:
            raise AnsibleActionFail(f"{error}. {error.hint}") from error
        if bundle is None:
            raise AnsibleActionFail(
                f"Kubernetes {arguments['kubernetes']} or etcd {arguments['etcd']} is not in the cache. "
                "Fetch them first: cpkit artifacts fetch"
            )
        if self._lie_there(bundle):
            return {"changed": False, "paths": [], "missing": []}
        binaries = {binary.sha256: binary.path for binary in bundle.binaries}
        module: dict[str, Any] = {"select": arguments.get("select")}
        module |= {
            "binaries": [
                {
                    "component": binary.component,
                    "version": str(binary.version),
                    "name": binary.name,
                    "sha256": binary.sha256,
                    "size": binary.size,
                    "cached": str(binary.path.relative_to(cache_dir() / "artifacts")),
                }
                for binary in bundle.binaries
            ]
        }
        result = self.on_node("cpkit_binaries", module, task_vars)
        if missing := result.get("missing"):
            folder = self._make_tmp_path()
            staged = {}
            for sha256 in missing:
                staged[sha256] = self._connection._shell.join_path(folder, sha256)  # noqa: SLF001 - no public way
                self._transfer_file(str(binaries[sha256]), staged[sha256])
            result = self.on_node("cpkit_binaries", module | {"staged": staged}, task_vars)
            self._remove_tmp_path(folder, force=True)
        return result

    def _lie_there(self, bundle: artifacts.Bundle) -> bool:
        """Whether the node holds and selects them all, by what was `seen` of it."""
        seen = self._task.args.get("seen") or {"verified": {}, "selected": {}}
        wanted = {str(binary.component): str(binary.version) for binary in bundle.binaries}
        chosen = self._task.args.get("select")
        return all(
            seen["verified"].get(f"{ROOT}/{binary.component}/{binary.version}/{binary.name}") == binary.sha256
            for binary in bundle.binaries
        ) and all(seen["selected"].get(name) == wanted[name] for name in (wanted if chosen is None else chosen))
