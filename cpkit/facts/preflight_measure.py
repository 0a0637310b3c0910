"""Measure, on the node, what can only be learnt by trying: fsync, ports between nodes, and who has the VIP.

Runs as `python3 - ARGUMENT` with root's rights beside itself on the other nodes: each opens the ports that will be
needed and dials those of the others. Ends by itself, early when all is known, and leaves nothing behind.
Standard library only.
"""

import errno
import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
WRITE = b"\0" * 2300  # what etcd's documentation measures disks with
ETH_ARP = 0x0806
GREETING = b"cpkit\n"  # tells our callers from balancers and members of an earlier run, which dial all the time


def fsync(path: str, count: int, seconds: float) -> Facts:
    """Latencies of write and fdatasync, as etcd's write-ahead log does them, in milliseconds."""
    took: list[float] = []
    end = time.monotonic() + seconds
    try:
        with tempfile.TemporaryFile(dir=path, buffering=0) as file:  # unlinked at once: nothing stays behind
            while len(took) < count and time.monotonic() < end:
                start = time.monotonic()
                file.write(WRITE)
                os.fdatasync(file.fileno())
                took.append((time.monotonic() - start) * 1000)
    except OSError as error:
        return {"error": error.strerror or str(error)}
    took.sort()
    return {"count": len(took), "p99_ms": took[min(len(took) - 1, len(took) * 99 // 100)], "max_ms": took[-1]}


def listen(port: int) -> socket.socket:
    """A socket listening on a port."""
    server = socket.socket()
    # SO_REUSEADDR: a connection of ours in TIME_WAIT must not keep the real service from binding.
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(("", port))
        server.listen(64)
    except OSError:
        server.close()
        raise
    return server


def serve(servers: dict[int, socket.socket], callers: Facts, stop: threading.Event, end: float) -> None:
    """Accept until every caller came to every port and our own dialling is over, or until the end."""
    ports = {server: port for port, server in servers.items()}
    names = {
        (port, address): name for port in servers for name, known in callers[str(port)].items() for address in known
    }
    missing = {(port, name) for port in servers for name in callers[str(port)]}
    while time.monotonic() < end and (missing or not stop.is_set()):
        for server in select.select(list(ports), [], [], 0.05)[0]:
            connection, (address, _) = server.accept()
            port = ports[server]
            if greeted(connection):
                missing.discard((port, names.get((port, address))))
    for server in ports:
        server.close()


def greeted(connection: socket.socket) -> bool:
    """Whether the caller is one of ours; the connection is over after that."""
    with connection:
        connection.settimeout(0.3)
        try:
            return connection.recv(len(GREETING)) == GREETING
        except OSError:
            return False


def reason(error: OSError) -> str:
    """A dial's error: `timeout`, `refused`, `no route`, or what the system says."""
    if error.errno in (None, errno.ETIMEDOUT):  # Python 3.9 has a timeout of its own, without a number
        return "timeout"
    if error.errno == errno.ECONNREFUSED:
        return "refused"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "no route"
    return error.strerror or str(error)


def dial(address: str, port: int, seconds: float, *, opened: bool = False, coming_up: bool = False) -> str:
    """Empty when a connection came about, else why not. Refusals are tried again: the listener may be starting.

    When the port's own service is coming up, a refusal is as good as a connection: the machine was reached.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((address, port), timeout=max(end - time.monotonic(), 0.1)) as connection:
                if opened:
                    connection.sendall(GREETING)
        except OSError as error:
            why = reason(error)
        else:
            return ""
        if why == "refused" and coming_up:
            return ""
        if why == "timeout" or time.monotonic() + 0.1 > end:
            return why
        time.sleep(0.1)


def in_threads(jobs: list[Callable[[], None]]) -> None:
    """Run all jobs at the same time; they write their results themselves."""
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def network(wanted: Facts) -> Facts:
    """Open our ports and dial the others'."""
    servers: dict[int, socket.socket] = {}
    busy: dict[int, str] = {}
    for port in map(int, wanted["listen"]):
        try:
            servers[port] = listen(port)
        except OSError as error:
            busy[port] = error.strerror or str(error)
    dials = [dict(target, error="") for target in wanted["dial"]]
    stop = threading.Event()
    # Listeners outlast the dials of a node that started later.
    end = time.monotonic() + wanted["seconds"] + 2
    server = threading.Thread(target=serve, args=(servers, wanted["listen"], stop, end), daemon=True)
    server.start()

    def attempt(target: Facts) -> None:
        how = {name: target.pop(name, False) for name in ("opened", "coming_up")}
        target["error"] = dial(target["address"], target["port"], wanted["seconds"], **how)

    in_threads([partial(attempt, target) for target in dials])
    stop.set()
    server.join()
    return {"dials": dials, "busy": busy}


def arp(interface: str, address: str, seconds: float) -> list[str]:
    """Hardware addresses that answer for an IPv4 address (an RFC 5227 probe: no cache is changed by it)."""
    mac = bytes.fromhex(Path(f"/sys/class/net/{interface}/address").read_text().strip().replace(":", ""))
    target = socket.inet_aton(address)
    request = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, b"\0" * 4, b"\0" * 6, target)
    frame = b"\xff" * 6 + mac + struct.pack("!H", ETH_ARP) + request
    found = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ARP)) as wire:
        wire.bind((interface, 0))
        for _ in range(3):
            wire.send(frame)
            end = time.monotonic() + seconds / 3
            while select.select([wire], [], [], max(end - time.monotonic(), 0))[0]:
                heard = wire.recv(2048)
                # A neighbour's claim is a reply, or its own probe or announcement.
                if heard[28:32] == target and heard[22:28] != mac:
                    found.add(":".join(f"{byte:02x}" for byte in heard[22:28]))
    return sorted(found)


def answers(address: str, port: int) -> str:
    """How an address that is not on our own network shows that a machine has it; empty if it does not."""
    why = dial(address, port, 1)
    if why in ("", "refused"):
        return f"TCP port {port}"
    try:
        silent = subprocess.call(
            ["ping", "-c", "1", "-W", "1", address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=3
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if silent else "ping"


def vip(wanted: Facts) -> Facts:
    """Who answers for the VIP."""
    try:
        if wanted["interface"]:
            return {"macs": arp(wanted["interface"], wanted["address"], 0.9), "answers": ""}
        return {"macs": [], "answers": answers(wanted["address"], wanted["port"])}
    except (OSError, ValueError) as error:
        return {"macs": [], "answers": "", "error": str(error)}


def measure(wanted: Facts) -> Facts:
    """All measurements at the same time, as one JSON-able dict."""
    found: Facts = {}
    jobs: list[Callable[[], None]] = [lambda: found.update(network=network(wanted["network"]))]
    if wanted["fsync"]:
        jobs.append(lambda: found.update(fsync=fsync(**wanted["fsync"])))
    if wanted["vip"]:
        jobs.append(lambda: found.update(vip=vip(wanted["vip"])))
    in_threads(jobs)
    return found


if __name__ == "__main__":
    json.dump(measure(json.loads(sys.argv[1])), sys.stdout)
