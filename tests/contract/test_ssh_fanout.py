import subprocess
import sys
import threading
import time

from cpkit.errors import CpkitError, Unreachable
from cpkit.inventory import Node, SshTarget
from cpkit.ssh import fan_out

NODES = [Node(name, name, "control_plane", SshTarget(name)) for name in ("cp1", "cp2", "cp3")]


def test_all_nodes_are_asked_at_once() -> None:
    meeting = threading.Barrier(3)

    def work(node: Node) -> str:
        meeting.wait(2)
        return node.name.upper()

    assert fan_out(NODES, work, deadline=3) == {"cp1": "CP1", "cp2": "CP2", "cp3": "CP3"}


def test_a_failure_hides_no_other_result() -> None:
    def work(node: Node) -> int:
        if node.name == "cp2":
            raise Unreachable("no answer", hint="look")
        if node.name == "cp3":
            raise KeyError("bug")
        return 1

    found = fan_out(NODES, work, deadline=2)
    assert found["cp1"] == 1
    assert isinstance(found["cp2"], Unreachable)
    assert str(found["cp2"]) == "cp2: no answer"
    assert isinstance(found["cp3"], CpkitError)
    assert str(found["cp3"]) == "cp3: unexpected KeyError: 'bug'"
    assert isinstance(found["cp3"].__cause__, KeyError)


def test_a_node_that_hangs_is_late_and_the_order_stays() -> None:
    release = threading.Event()

    def work(node: Node) -> str:
        if node.name == "cp1":
            release.wait(5)
        return node.name

    began = time.monotonic()
    found = fan_out(NODES, work, deadline=0.2)
    release.set()
    assert time.monotonic() - began < 1
    assert list(found) == ["cp1", "cp2", "cp3"]
    assert str(found["cp1"]) == "cp1: no result within 0.2 s"
    assert found["cp3"] == "cp3"


def test_no_nodes_no_results() -> None:
    assert fan_out([], str, deadline=1) == {}


def test_importing_the_package_loads_no_paramiko() -> None:
    code = "import sys, cpkit.ssh; print([m for m in ('paramiko', 'cryptography', 'pydantic') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert found.stdout == "[]\n"
