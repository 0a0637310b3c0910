"""The scripts that run on the nodes, run here."""

import ast
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cpkit.facts import preflight_measure as measuring
from cpkit.facts.preflight_agent import leftovers, listeners
from cpkit.facts.preflight_parse import parse_facts, parse_measured
from cpkit.facts.preflight_probe import agent, measurer, read_clock
from cpkit.ssh import connect
from tests.contract.sshd import sshd


def on_stdin(script: bytes, argument: dict[str, Any]) -> dict[str, Any]:
    """Run a script as it runs on a node."""
    done = subprocess.run(
        [sys.executable, "-", json.dumps(argument)],
        input=script,
        capture_output=True,
        check=True,
        timeout=20,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_facts_of_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        question = {
            "role": "control_plane",
            "etcd_data_dir": "/nowhere/var/lib/etcd",
            "ports": [port],
            "endpoint": "192.0.2.7",
        }
        facts = parse_facts(on_stdin(agent(), question))
    assert facts.hostname == socket.gethostname()
    assert facts.python == sys.version_info[:2]
    assert facts.memory > 100 * 2**20
    assert facts.disks["etcd"].path == "/"
    assert facts.resolved == ("192.0.2.7",)
    held = facts.listeners[0]
    assert (held.address, held.port, held.pid) == ("127.0.0.1", port, os.getpid())
    assert Path(held.executable).resolve() == Path(sys.executable).resolve()


def test_a_clock_is_read_over_ssh_and_the_truth_lies_within_the_error(tmp_path: Path) -> None:
    with sshd(tmp_path) as server, connect(server.node()) as connection:
        clock = read_clock(connection)
    assert abs(clock.offset) <= clock.error


def test_addresses_of_the_kernels_socket_table() -> None:
    assert listeners.socket_address("0100007F") == "127.0.0.1"
    assert listeners.socket_address("00000000000000000000000001000000") == "::1"


def test_a_broken_marker_counts_as_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    for written, name in (("", ""), ("{", "(unreadable)"), ("[]", "(unreadable)"), ('{"name": "prod"}', "prod")):
        monkeypatch.setattr(leftovers, "text", lambda _, written=written: written)
        assert leftovers.marker()["name"] == name


def test_an_old_python_says_how_old_it_is() -> None:
    ast.parse(agent(), feature_version=(3, 7))
    # Pretends to be old; and a module of ours that is imported all the same fails.
    old = b"import sys\nsys.version_info = (3, 6, 8)\nsys.modules['cpkit'] = None\n"
    done = subprocess.run([sys.executable, "-"], input=old + agent(), capture_output=True, check=True, timeout=20)
    assert json.loads(done.stdout) == {"python": [3, 6]}


def free_ports(count: int) -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def test_ports_are_opened_and_dialled_and_the_end_does_not_wait_for_the_deadline(tmp_path: Path) -> None:
    opened, taken, closed = free_ports(3)
    with socket.create_server(("", taken)):
        question = {
            "network": {
                "listen": {str(opened): {"me": ["127.0.0.1"]}, str(taken): {}},
                "dial": [
                    {"node": "me", "address": "127.0.0.1", "port": port, "opened": port == opened}
                    for port in (opened, taken, closed)
                ],
                "seconds": 0.3,
            },
            "fsync": {"path": str(tmp_path), "count": 20, "seconds": 1},
            "vip": {"interface": "", "address": "127.0.0.1", "port": opened},
        }
        found = parse_measured(on_stdin(measurer(), question), question)
    assert [dial.error for dial in found.dials] == ["", "", "refused"]
    assert list(found.busy) == [taken]
    assert found.fsync is not None
    assert found.fsync.count == 20
    assert 0 < found.fsync.p99_ms <= found.fsync.max_ms
    assert found.vip is not None
    assert found.vip.answers
    assert list(tmp_path.iterdir()) == []


def test_fsync_is_bounded_in_time_and_tells_what_hinders_it(tmp_path: Path) -> None:
    assert measuring.fsync(str(tmp_path), 10**9, 0.05)["count"] < 10**6
    assert measuring.fsync(str(tmp_path / "none"), 1, 1)["error"] == "No such file or directory"


def test_a_port_whose_service_is_coming_up_is_reached_by_a_refusal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert measuring.dial("127.0.0.1", port, 5, coming_up=True) == ""


def test_a_balancer_of_an_earlier_run_that_dials_first_does_not_close_the_port_for_our_caller() -> None:
    (port,) = free_ports(1)
    over = threading.Event()
    over.set()
    callers = {str(port): {"lb1": ["127.0.0.1"]}}
    work = ({port: measuring.listen(port)}, callers, over, time.monotonic() + 10)
    server = threading.Thread(target=measuring.serve, args=work)
    server.start()
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    assert measuring.dial("127.0.0.1", port, 1, opened=True) == ""
    server.join(5)
    assert not server.is_alive()


def test_a_dial_into_the_void_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        held = [socket.socket() for _ in range(3)]
        for client in held:  # a full queue drops what comes next, as a firewall does
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        assert measuring.dial("127.0.0.1", server.getsockname()[1], 0.3) == "timeout"
        for client in held:
            client.close()
