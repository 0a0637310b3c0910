"""Hold the API servers for a moment, so that nobody asks etcd for a write while its leadership moves.

While leadership is handed over, the leader drops the proposals that the other members forward to it, and says nothing:
whoever asked waits for 7 s in vain. A request that reaches a held API server waits for a fraction of a second instead.
The invariant: no API server is held for longer than LONGEST, whatever becomes of the one who holds it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cpkit.errors import CpkitError
from cpkit.inventory import Node
from cpkit.ssh import connect, fan_out

if TYPE_CHECKING:
    from cpkit.ssh.conversation import Conversation

UNIT = "kube-apiserver.service"
LONGEST = 1.5  # seconds; less than two of a balancer's checks
PREPARE = 10.0  # seconds until an agent must be ready
ANSWER = 1.0  # seconds until a held one must say so


@dataclass(frozen=True)
class _Held:
    """An agent that is ready, and what has to be closed after it."""

    talk: "Conversation"
    stack: ExitStack


@contextmanager
def holding(nodes: tuple[Node, ...], longest: float = LONGEST) -> Iterator[tuple[str, ...]]:
    """While this lasts, no API server of these nodes does anything; the names of those that are held.

    A node that cannot be reached, or has no API server running, is left out.
    """
    prepared = fan_out(nodes, lambda node: _prepare(node, longest), deadline=PREPARE)
    ready = {name: found for name, found in prepared.items() if isinstance(found, _Held)}
    try:
        for each in ready.values():
            each.talk.tell("hold")
        yield tuple(name for name, each in ready.items() if _says(each.talk, "held", ANSWER))
    finally:
        for each in ready.values():
            with suppress(CpkitError):
                each.talk.tell("go on")
        for each in ready.values():
            each.stack.close()


def _prepare(node: Node, longest: float) -> _Held | None:
    """Have an agent find the process; everything that takes time is done before anything is held."""
    agent = Path(__file__).with_name("holding_agent.py").read_text()
    with ExitStack() as stack:
        connection = stack.enter_context(connect(node))
        argv = ["python3", "-IS", "-c", agent, UNIT, str(longest)]
        talk = stack.enter_context(connection.converse(argv, sudo=True, timeout=PREPARE))
        if not _says(talk, "ready", PREPARE):
            return None
        return _Held(talk, stack.pop_all())


def _says(talk: "Conversation", word: str, timeout: float) -> bool:
    try:
        return talk.hear(timeout=timeout) == word
    except CpkitError:
        return False
