"""The same work on many nodes at once."""

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from cpkit.errors import CpkitError, Unreachable

if TYPE_CHECKING:
    from cpkit.inventory import Node

T = TypeVar("T")


def fan_out(nodes: Sequence["Node"], work: Callable[["Node"], T], *, deadline: float) -> dict[str, T | CpkitError]:
    """Each node's result or error by its name, in the order given, at the latest after `deadline` seconds."""
    answers: SimpleQueue[tuple[str, T | CpkitError]] = SimpleQueue()
    for node in nodes:
        # Daemons, not a pool: a thread that hangs must hold up neither the others nor the exit.
        threading.Thread(target=lambda one=node: answers.put((one.name, _attempt(work, one))), daemon=True).start()
    ends = time.monotonic() + deadline
    found: dict[str, T | CpkitError] = {}
    while len(found) < len(nodes):
        try:
            name, answer = answers.get(timeout=max(0.0, ends - time.monotonic()))
        except Empty:
            break
        found[name] = answer
    late = {node.name: Unreachable(f"no result within {deadline:g} s", node=node.name) for node in nodes}
    return {name: found.get(name, error) for name, error in late.items()}


def _attempt(work: Callable[["Node"], T], node: "Node") -> T | CpkitError:
    try:
        return work(node)
    except CpkitError as error:
        error.node = error.node or node.name
        return error
    except Exception as error:
        wrapped = CpkitError(f"unexpected {type(error).__name__}: {error}", node=node.name)
        wrapped.__cause__ = error
        return wrapped
