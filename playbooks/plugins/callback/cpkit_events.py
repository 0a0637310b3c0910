"""Write what a play does as JSON lines, for cpkit to follow; silent unless $CPKIT_EVENTS names a descriptor."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cpkit_events
type: aggregate
short_description: JSON lines for cpkit
description: One line for each start and end of a task on a host. A task with C(no_log) shows no result.
requirements: ["CPKIT_EVENTS names an open file descriptor"]
"""

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Events: play, task, host (state ok, changed, failed, unreachable, skipped) and stats."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "cpkit_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        descriptor = os.environ.pop("CPKIT_EVENTS", "")
        if descriptor.isdigit():
            self._stream = os.fdopen(int(descriptor), "w", buffering=1, encoding="utf-8")
        else:
            self.disabled = True

    def _write(self, event: str, **fields: Any) -> None:
        try:
            self._stream.write(json.dumps({"event": event, "at": round(time.time(), 3), **fields}, default=str) + "\n")
        except OSError:
            self.disabled = True  # the reader is gone; the play goes on

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A play begins."""
        self._write("play", name=play.get_name().strip())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        """A task begins on all its hosts."""
        role = task._role.get_name() if task._role else ""  # noqa: SLF001 - Ansible has no public way
        self._write("task", name=task.name or task.action, role=role)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """A handler begins."""
        self.v2_playbook_on_task_start(task, is_conditional=False)

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task ended well on a host."""
        self._host(result, "changed" if result.result.get("changed") else "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed on a host."""
        self._host(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._host(result, "unreachable")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """A task does not apply to a host."""
        self._host(result, "skipped")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The sums for each host."""
        self._write("stats", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})

    def _host(self, result: Any, state: str) -> None:
        task = result.task
        values = result.result
        shown: dict[str, Any] = {}
        if state in {"failed", "unreachable"}:
            shown["message"] = self._message(values, secret=bool(task.no_log))
        if not task.no_log:
            shown |= {key: values[key] for key in ("paths", "unit_action", "units", "warnings") if values.get(key)}
            if self._diffs(values):
                shown["diff"] = self._diffs(values)
        self._write("host", host=result.host.get_name(), task=task.name, state=state, **shown)

    @staticmethod
    def _diffs(values: dict[str, Any]) -> list[dict[str, Any]]:
        found = values.get("diff") or []
        return found if isinstance(found, list) else [found]

    @staticmethod
    def _message(values: dict[str, Any], *, secret: bool) -> str:
        if secret:
            return str(values.get("msg") or "failed; details are withheld because the task handles keys")
        return str(values.get("msg") or values.get("stderr") or "failed without a message")
