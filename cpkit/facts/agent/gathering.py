"""Many tasks at once, by one deadline."""

from __future__ import annotations

import threading
import time

from cpkit.facts.agent.asking import reason

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def gather(tasks: dict[tuple[str, str], Callable[[], Any]], seconds: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Run all tasks at once, for so many seconds; what fails or is late is named in the second value, never guessed."""
    done: dict[tuple[str, str], Any] = {}
    missing: dict[str, str] = {}

    def run(name: tuple[str, str], task: Callable[[], Any]) -> None:
        try:
            done[name] = task()
        except Exception as error:  # one fact's trouble must not hide the others
            missing[":".join(filter(None, name))] = reason(error)

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in tasks.items()]
    end = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    for name in tasks.keys() - done.keys():
        missing.setdefault(":".join(filter(None, name)), f"no answer within {seconds:.1f} s")
    facts: dict[str, Any] = {}
    for (fact, part), value in list(done.items()):
        facts.setdefault(fact, {})[part] = value
    return {fact: parts.get("", parts) for fact, parts in facts.items()}, missing
