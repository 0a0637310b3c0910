"""Issue the leaves a node lacks or shall have anew, in the controller's memory, and lay them down in one call."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cpkit.carried import CarryingAction
from cpkit.handing import received
from cpkit.laid import lie_as_wanted
from cpkit.pki import Authorities, NodeFile, NodeIdentity, Renewal, ended, handed_files, leaf_files, node_files
from cpkit.pki.requests import signed_files

# Connections to the API that authenticate with an ended certificate fail until the next look at the file.
CONTROLLERS = {"controller-manager": "kube-controller-manager.service", "scheduler": "kube-scheduler.service"}


class ActionModule(CarryingAction):
    """The task must set `no_log`; a failure is returned as `problem`, for another task to tell."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Plan the files of this node, and run `cpkit_files` with them."""
        self.begin(tmp, task_vars)
        arguments = dict(self._task.args)
        laying = {"directories": arguments.pop("directories", []), "keep": arguments.pop("keep", "")}
        seen = arguments.pop("seen", {})
        stale = [unit for name, unit in CONTROLLERS.items() if ended(arguments["held"], name)]
        descriptor = arguments.pop("descriptor", None)
        handed = received(int(descriptor)) if descriptor is not None else {}
        try:
            files = _files(arguments, handed)
        except (KeyError, ValueError) as error:
            return {"changed": False, "problem": f"what the node holds is not whole: {error}"}
        entries = [asdict(file) | {"secret": True} for file in files]
        if lie_as_wanted(entries, laying["directories"], seen):
            return {"changed": False, "paths": [], "problem": "", "stale": []}
        result = self.quietly("cpkit_files", {"files": entries, **laying}, task_vars)
        return result | {"stale": stale if result.get("changed") else []}


def _files(arguments: dict[str, Any], handed: dict[str, str]) -> tuple[NodeFile, ...]:
    """The whole PKI of a node, or with `renew` only its leaves, those anew that it names.

    Authorities that are handed take the place of those that the node holds, and are laid down with their leaves. Of
    leaves that were signed elsewhere, just these, and no authority is needed.
    """
    shared, held, renew = arguments.pop("authorities"), arguments.pop("held"), arguments.pop("renew", None)
    signed = arguments.pop("signed", None)
    identity = NodeIdentity(**arguments | {"extra_sans": tuple(arguments.get("extra_sans", ()))})
    if isinstance(signed, dict):
        return signed_files(identity, held, signed)
    authorities = Authorities.from_files({**shared, **handed})
    if handed:
        return handed_files(identity, authorities, held, handed)
    if renew is None:
        return node_files(identity, authorities, held)
    renewal = Renewal(
        everything=renew["everything"],
        only=frozenset(renew["only"]),
        days=renew["days"] or None,
        target=renew["target"],
    )
    return leaf_files(identity, authorities, held, renewal)
