"""Whether the leaves on the node are in use: every server serves what lies there, every client is accepted."""

import functools
import ssl
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from cpkit.facts.agent import gathering, handshakes, probes
from cpkit.facts.agent.files import digest
from cpkit.renewing.holding import Held

SECONDS = 8.0
Task = Callable[[], Any]


def troubles(held: Iterable[Held], address: str) -> list[str]:
    """What is not well, in words; nothing when every handshake on this node shows and accepts what lies on its disk."""
    served = {each.leaf.port: each for each in held if each.leaf.port}
    tasks: dict[tuple[str, str], Task] = {
        ("served", port): functools.partial(handshakes.served, port, address) for port in served
    }
    tasks |= {("clients", name): functools.partial(handshakes.client, name, address) for name in handshakes.CLIENTS}
    tasks |= {("probes", "kube-apiserver"): functools.partial(probes.health_path, "readyz")}
    tasks |= {("probes", name): functools.partial(probes.controller, name) for name in probes.CONTROLLERS}
    facts, missing = gathering.gather(tasks, SECONDS)
    return judge({port: (each.leaf.name, each.fingerprint) for port, each in served.items()}, facts, missing)


def judge(
    served: Mapping[str, tuple[str, str]], facts: Mapping[str, Mapping[str, Any]], missing: Mapping[str, str]
) -> list[str]:
    """The same of what the agent learnt: `served` says which leaf belongs to a port, and its fingerprint; pure."""
    found = [f"{name} is not known: {why}" for name, why in missing.items()]
    for port, pem in facts.get("served", {}).items():
        name, fingerprint = served[port]
        shown = digest(ssl.PEM_cert_to_DER_cert(pem))
        found += [] if shown == fingerprint else [f"{name} on the disk is not what is served on port {port}"]
    for kind, words in (("clients", "is not accepted"), ("probes", "is not well")):
        for name, probe in facts.get(kind, {}).items():
            if probe.get("status") != HTTPStatus.OK:
                why = probe.get("error") or f"HTTP {probe.get('status')}"
                found.append(f"{name} {words}: {why}")
    return found
