"""Look into one node: over SSH, as root, with its own Python."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpkit.errors import CpkitError, Unreachable
from cpkit.facts.clock import Clock, narrowest, reading
from cpkit.facts.preflight_parse import parse_facts, parse_measured
from cpkit.facts.preflight_snapshot import Measured, NodeState, Trouble, needed_ports
from cpkit.inventory import Cluster, Node
from cpkit.packed import program
from cpkit.ssh import (
    AuthenticationFailed,
    Completed,
    Connect,
    Connection,
    HostKeyChanged,
    HostKeyUnknown,
    SudoRefused,
)

if TYPE_CHECKING:
    from cpkit.ssh.conversation import Conversation

CONNECT = 5.0
READ = 8.0
CLOCK = 2.0  # seconds after which no further sample of a clock is begun
TELL_TIME = "import sys, time\nfor _ in sys.stdin: print(time.time())"
# Goes before all else of the agent, in words of any Python 3, so that an old one can say how old it is.
TELL_AGE = """\
import json, sys
if sys.version_info < (3, 9):
    json.dump({"python": sys.version_info[:2]}, sys.stdout)
    sys.exit()
"""


class Stopped(Exception):
    """Trouble on the way into a node."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.text)
        self.trouble = trouble


@cache
def agent() -> bytes:
    """What looks into a node: the modules of the agent as one program, of which an old Python only tells its age."""
    return (TELL_AGE + program("cpkit.facts.preflight_agent")).encode()


@cache
def measurer() -> bytes:
    """What measures on a node."""
    return Path(__file__).with_name("preflight_measure.py").read_bytes()


def ask(connection: Connection, script: bytes, argument: dict[str, Any], *, timeout: float) -> dict[str, Any]:
    """What a script of ours printed when run on the node as root."""
    argv = ["python3", "-IS", "-", json.dumps(argument, separators=(",", ":"))]
    done = connection.run(argv, stdin=script, sudo=True, timeout=timeout)
    if done.rc:
        raise Stopped(_missing_python(connection) or _broken(done))
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stdout.decode(errors="replace").strip().splitlines()
        hint = f"Let root's shell start-up files on {connection.node.name} print nothing."
        raise Stopped(Trouble("facts", f"unexpected output: {said[0][:80] if said else 'nothing'}", hint)) from None
    return answer


def look(cluster: Cluster, node: Node, connect: Connect) -> NodeState:
    """A node's facts and clock, or the trouble on the way to them."""
    state = NodeState(node)
    try:
        with _connected(node, connect) as connection:
            raw = ask(connection, agent(), _question(cluster, node), timeout=READ)
            state = replace(state, facts=parse_facts(_new_enough(raw)))
            return replace(state, clock=read_clock(connection))
    except Stopped as stopped:
        return replace(state, trouble=stopped.trouble)
    except CpkitError as error:
        return replace(state, trouble=trouble_of(error))


@contextmanager
def _connected(node: Node, connect: Connect) -> Iterator[Connection]:
    with ExitStack() as held:
        try:
            connection = held.enter_context(connect(node, timeout=CONNECT))
        except (HostKeyUnknown, HostKeyChanged, AuthenticationFailed):
            raise
        except Unreachable as error:
            raise Stopped(Trouble("ssh.reach", error.message, error.hint)) from error
        yield connection


def measure(node: Node, question: dict[str, Any], connect: Connect, *, timeout: float) -> Measured:
    """What could only be learnt by trying, from one node."""
    with connect(node, timeout=CONNECT) as connection:
        return parse_measured(ask(connection, measurer(), question, timeout=timeout), question)


def read_clock(connection: Connection) -> Clock:
    """The node's clock against ours, from the surest of several answers."""
    with connection.converse(["python3", "-ISu", "-c", TELL_TIME], timeout=CONNECT) as node:
        return narrowest(_samples(node))


def _samples(node: "Conversation") -> Iterator[Clock]:
    """The clock over and over, for a while: on a busy machine one answer in many comes without a wait."""
    end = time.monotonic() + CLOCK
    while True:
        asked = time.time()
        node.tell("")
        said = node.hear(timeout=CONNECT)
        answered = time.time()
        try:
            shown = float(said)
        except ValueError:
            raise Stopped(Trouble("facts", f"its clock cannot be read: Python says {said[:40]!r}")) from None
        yield reading((shown, shown), asked, answered)
        if time.monotonic() > end:
            return


def _question(cluster: Cluster, node: Node) -> dict[str, Any]:
    return {
        "role": node.role,
        "etcd_data_dir": cluster.spec.etcd_data_dir,
        "ports": sorted(needed_ports(cluster, node)),
        "endpoint": cluster.endpoint.host,
    }


def _missing_python(connection: Connection) -> Trouble | None:
    if connection.run(["sh", "-c", "command -v python3"], timeout=CONNECT).rc:
        return Trouble("python3", "python3 is missing", "Install it: `apt-get install python3`.")
    return None


def _new_enough(raw: dict[str, Any]) -> dict[str, Any]:
    if "hostname" not in raw:  # all that the agent says on a Python it cannot run on
        version = ".".join(map(str, raw["python"]))
        raise Stopped(Trouble("python3", f"Python {version} is older than 3.9", "Install a newer python3."))
    return raw


def _broken(done: Completed) -> Trouble:
    said = done.stderr.decode(errors="replace").strip().splitlines()
    text = f"the facts could not be read: {said[-1].strip() if said else f'exit code {done.rc}'}"
    return Trouble("facts", text, "Try `sudo python3 -c 'import json'` on it: its Python may be broken.")


def trouble_of(error: CpkitError) -> Trouble:
    """The check that an error of the connection belongs to."""
    if isinstance(error, (HostKeyUnknown, HostKeyChanged)):
        check = "ssh.host-key"
    elif isinstance(error, AuthenticationFailed):
        check = "ssh.login"
    elif isinstance(error, SudoRefused):
        check = "become-password" if "password" in error.message else "sudo"
    else:
        check = "facts"
    return Trouble(check, error.message, error.hint)
