"""Views of a running operation: live in a terminal, plain lines elsewhere, JSON lines for programs."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from cpkit.artifacts import Progress, Silent

if TYPE_CHECKING:
    from rich.status import Status

MARKS = {"done": ("✓", "green"), "failed": ("✗", "bold red"), "interrupted": ("■", "yellow")}
LOUD = ("changed", "failed", "unreachable")


class Task:
    """The task of a play that is under way, and what became of it on each host."""

    def __init__(self, role: str, name: str) -> None:
        self.role, self.name = role, name
        self.began = time.monotonic()
        self.states: dict[str, list[str]] = defaultdict(list)

    def line(self) -> Text | None:
        """A line worth keeping, if the task changed something or failed."""
        said = [f"{state} on {', '.join(sorted(self.states[state]))}" for state in LOUD if self.states[state]]
        if not said:
            return None
        style = "red" if self.states["failed"] or self.states["unreachable"] else ""
        took = f"  {time.monotonic() - self.began:.1f} s"
        return Text.assemble(f"    {self.role}: {self.name}  ", ("; ".join(said), style or "cyan"), (took, "dim"))


class TextView:
    """Steps as lines; in a terminal the last line lives."""

    def __init__(self, progress: Progress) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live: Status | None = None
        self._task: Task | None = None
        self._step = ""
        self.progress = progress

    def begin(self, step: str) -> None:
        """Show that a step begins."""
        self._step = step
        if self._console.is_terminal:
            self._live = self._console.status(Text(step))
            self._live.start()
        else:
            self._console.print(f"{step} …")

    def end(self, step: str, outcome: str, seconds: float) -> None:
        """Keep a line that says how the step went."""
        self._finish_task()
        self.pause()
        mark, style = MARKS[outcome]
        self._console.print(Text.assemble((f"{mark} ", style), step, (f"  {seconds:.1f} s", "dim")))

    def status(self, text: str) -> None:
        """Say what is going on, on the living line."""
        if self._live:
            self._live.update(Text.assemble(self._step, (f"  {text}", "dim")))

    def say(self, text: str) -> None:
        """Keep a line."""
        self._console.print(Text(f"  {text}"), soft_wrap=True)

    def pause(self) -> None:
        """Give the terminal back, to ask something or to end."""
        if self._live:
            self._live.stop()
            self._live = None

    def event(self, event: Mapping[str, Any]) -> None:
        """Follow a play."""
        if event["event"] == "task":
            self._finish_task()
            self._task = Task(str(event["role"]), str(event["name"]))
            self.status(f"{event['role']}: {event['name']}")
        elif event["event"] == "host" and self._task:
            self._task.states[str(event["state"])].append(str(event["host"]))
            for warning in event.get("warnings", ()):
                self.say(f"warn    {event['host']}: {warning}")
            self._show_diff(event)

    def _finish_task(self) -> None:
        if self._task and (line := self._task.line()):
            self._console.print(line, soft_wrap=True)
        self._task = None

    def _show_diff(self, event: Mapping[str, Any]) -> None:
        for diff in event.get("diff", ()):
            text = _unified(diff)
            if text:
                self._console.print(f"    {event['host']}:")
                self._console.print(Syntax(text, "diff", background_color="default"))


class JsonView:
    """One JSON document a line on standard output."""

    def __init__(self) -> None:
        self.progress: Progress = Silent()

    def begin(self, step: str) -> None:
        """A step begins."""
        self._write(event="step", step=step, state="started")

    def end(self, step: str, outcome: str, seconds: float) -> None:
        """A step is over."""
        self._write(event="step", step=step, state=outcome, seconds=seconds)

    def status(self, text: str) -> None:
        """What goes on now."""
        self._write(event="status", text=text)

    def say(self, text: str) -> None:
        """A line worth keeping."""
        self._write(event="message", text=text)

    def pause(self) -> None:
        """Nothing to give back."""

    def event(self, event: Mapping[str, Any]) -> None:
        """An event of a play, as it came."""
        self._write(**event)

    def _write(self, **fields: Any) -> None:
        sys.stdout.write(json.dumps({"at": round(time.time(), 3)} | fields, default=str) + "\n")
        sys.stdout.flush()


def _unified(diff: Mapping[str, Any]) -> str:
    from difflib import unified_diff

    before, after = str(diff.get("before", "")), str(diff.get("after", ""))
    names = str(diff.get("before_header", "")), str(diff.get("after_header", ""))
    lines = unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="", n=2)
    return "\n".join(lines)
