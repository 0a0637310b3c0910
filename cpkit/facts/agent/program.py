"""Reads the facts of the node it runs on and prints them as one JSON document.

It is sent with the modules beside it on stdin to `sudo python3 - ARGUMENTS`, so they use the standard library of Python
3.9 alone. It changes nothing, prints no private key, and gives up on whatever has not answered by its deadline.
"""
# Importing pathlib would add a tenth to the run.
# ruff: noqa: PTH110

from __future__ import annotations

import functools
import json
import os
import sys
import time

from cpkit.facts.agent.certificates import KEPT, balancer_certificates, certificates
from cpkit.facts.agent.files import compared_files
from cpkit.facts.agent.gathering import gather
from cpkit.facts.agent.handshakes import CLIENTS, PEERS, SERVERS, client, dial, served
from cpkit.facts.agent.keys import KEPT_ENCRYPTION, keys
from cpkit.facts.agent.machine import addresses, disk, etcd_data
from cpkit.facts.agent.probes import CONTROLLERS, controller, fsync, health_path, lease, servers
from cpkit.facts.agent.rotation import rotation
from cpkit.facts.agent.timers import backup, renewal
from cpkit.facts.agent.units import OPT, services

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def main() -> None:
    """Print what is known."""
    began = time.time()
    asked = json.loads(sys.argv[1])
    tasks = tasks_for(asked["role"], asked["peers"], asked["data_dir"], asked["address"])
    facts, missing = gather(tasks, asked["seconds"])
    public = {name: facts.pop(name) for name in ("certificates", "served") if name in facts}
    host = {**facts.pop("services", {}), **facts, "missing": missing, "uptime": time.monotonic()}
    print(json.dumps({"clock": [began, time.time()], "host": host, **public}), flush=True)  # noqa: T201
    os._exit(0)  # a thread that still waits for an answer must not hold up the rest


def tasks_for(
    role: str, peers: dict[str, str], data_dir: str, address: str
) -> dict[tuple[str, str], Callable[[], Any]]:
    """What to read on a node of a role, by fact and part of a fact."""
    tasks: dict[tuple[str, str], Callable[[], Any]] = {("services", ""): functools.partial(services, role)}
    if role == "load_balancer":
        tasks["certificates", ""] = balancer_certificates
        return {**tasks, ("files", ""): compared_files, ("servers", ""): servers, ("addresses", ""): addresses}
    tasks.update({("files", ""): compared_files, ("certificates", ""): certificates, ("fsync", ""): fsync})
    tasks["keys", ""] = keys
    tasks["rotation", ""] = rotation
    tasks["backup", ""] = backup
    tasks["renewal", ""] = renewal
    tasks["kept", ""] = functools.partial(os.path.isdir, KEPT)
    tasks["kept_encryption", ""] = functools.partial(os.path.isdir, KEPT_ENCRYPTION)
    tasks.update({("served", name): functools.partial(served, name, address) for name in SERVERS})
    tasks.update({("clients", name): functools.partial(client, name, address) for name in CLIENTS})
    tasks["disk", ""] = functools.partial(disk, data_dir)
    tasks["room", ""] = functools.partial(disk, OPT if os.path.exists(OPT) else "/")
    tasks["etcd_data", ""] = functools.partial(etcd_data, data_dir)
    for path in ("readyz", "livez"):
        tasks["probes", path] = functools.partial(health_path, path)
    for name in CONTROLLERS:
        tasks["probes", name] = functools.partial(controller, name)
        tasks["leases", name] = functools.partial(lease, name)
    for peer, address in peers.items():
        for port in (PEERS, 6443):
            tasks["peers", f"{peer}:{port}"] = functools.partial(dial, address, port)
    return tasks
