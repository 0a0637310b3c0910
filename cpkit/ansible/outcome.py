"""How a play ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cpkit.errors import CpkitError, Exit, Locked

Event = Mapping[str, Any]  # what playbooks/plugins/callback/cpkit_events.py writes
UNREACHABLE = 4  # ansible-playbook's exit code when a host could not be reached
LOCK_TASK = "Stop unless the lock was taken"  # of role claim


@dataclass(frozen=True)
class Outcome:
    """How a play ended."""

    code: int
    hosts: Mapping[str, Mapping[str, int]]  # Ansible's sums for each host
    failures: tuple[Event, ...]

    @property
    def changed(self) -> int:
        """The number of tasks that changed something."""
        return sum(sums.get("changed", 0) for sums in self.hosts.values())


def failure(outcome: Outcome) -> CpkitError:
    """What failed first, where and why, on the first host by name; after a rescue, what the rescue says there."""
    failed = [event for event in outcome.failures if event["task"] == outcome.failures[0]["task"]]
    host = min(str(event["host"]) for event in failed)
    first = [event for event in outcome.failures if event["host"] == host][-1]
    others = sorted({str(event["host"]) for event in outcome.failures} - {str(first["host"])})
    also = f" (also on {', '.join(others)})" if others else ""
    message = str(first.get("message", "failed"))
    if first["task"] == LOCK_TASK:
        return Locked(message, node=str(first["host"]))
    error = CpkitError(f"{first['task']}: {message}{also}", node=str(first["host"]))
    error.code = Exit.UNKNOWN if outcome.code == UNREACHABLE else Exit.FAILED
    return error
