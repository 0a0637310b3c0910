"""Render the templates of a set of files on the controller, then lay all of them down in one module call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.template import trust_as_template

from cpkit.carried import CarryingAction
from cpkit.laid import lie_as_wanted


class ActionModule(CarryingAction):
    """Turns `template` into `content` for each file; asks nothing of a node that was `seen` with it, `running`."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Render, and run the module of the same name."""
        self.begin(tmp, task_vars)
        arguments = self._filled(dict(self._task.args), task_vars or {})
        arguments["sets"] = [self._filled(dict(each), task_vars or {}) for each in arguments.get("sets") or []]
        seen, running = arguments.pop("seen", {}), ["", *arguments.pop("running", [])]
        if all(_done(each, seen, running) for each in (arguments, *arguments["sets"])):
            return {"changed": False, "paths": [], "units": []}
        return self.on_node("cpkit_files", arguments, task_vars)

    def _filled(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        role = arguments.pop("role", "")
        files = [self._rendered(dict(entry), role, task_vars) for entry in arguments.get("files") or []]
        return arguments | {"files": files}

    def _rendered(self, entry: dict[str, Any], role: str, task_vars: dict[str, Any]) -> dict[str, Any]:
        name = entry.pop("template", None)
        if name is None:
            return entry
        path = self._find_needle("templates", self._in_role(role, name))
        with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - Ansible finds it as text
            source = stream.read()
        search = [*task_vars.get("ansible_search_path", []), self._loader.get_basedir()]
        templar = self._templar.copy_with_new_env(searchpath=search, available_variables=task_vars)
        try:
            entry["content"] = templar.template(
                trust_as_template(source), preserve_trailing_newlines=True, escape_backslashes=False
            )
        except AnsibleError as error:
            raise AnsibleError(f"{name}: {error}") from error
        return entry

    def _in_role(self, role: str, name: str) -> str:
        """The template of another role, which stands beside the role of this task."""
        return str(Path(self._task._role._role_path).parent / role / "templates" / name) if role else name  # noqa: SLF001


def _done(wanted: dict[str, Any], seen: dict[str, Any], running: list[str]) -> bool:
    return wanted.get("unit", "") in running and lie_as_wanted(wanted["files"], wanted.get("directories") or [], seen)
