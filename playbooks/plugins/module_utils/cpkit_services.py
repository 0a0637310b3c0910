"""The services of a control plane during a restore: which there are, and how they end and start."""

from __future__ import annotations

import time

from ansible.module_utils.cpkit_restore import Trouble
from ansible.module_utils.cpkit_units import bring_up, properties, systemctl

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from ansible.module_utils.cpkit_guards import Guards

GRACE, POLL = 1.0, 0.05  # seconds
API = ("kube-apiserver",)
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
EVERY = ("etcd", *API, *CONTROLLERS)


def running(unit: str) -> bool:
    """Whether a unit runs, or anything of it still does."""
    return properties(f"{unit}.service").get("ActiveState") not in {"inactive", "failed"}


def refuse_running(units: tuple[str, ...]) -> None:
    """Trouble if any of the units runs."""
    for unit in units:
        if running(unit):
            raise Trouble(f"{unit} runs, and its data must not be moved under it")


def stop(units: tuple[str, ...]) -> bool:
    """End units, and wait until they are gone; whether any ran.

    They are killed after a moment. An API server would go on to serve for seconds, and whatever it accepted would be
    undone; the last etcd would wait seconds for a quorum to hand leadership to. Neither loses what is on the disk.
    """
    alive = [f"{unit}.service" for unit in units if running(unit)]
    if not alive:
        return False
    systemctl("stop", "--no-block", *alive)
    deadline = time.monotonic() + GRACE
    while any(map(running, units)) and time.monotonic() < deadline:
        time.sleep(POLL)
    left = [f"{unit}.service" for unit in units if running(unit)]
    if left:
        systemctl("kill", "--signal=SIGKILL", *left, check=False)
        systemctl("stop", *left)
    refuse_running(units)
    return True


def start(units: tuple[str, ...], guards: Guards) -> bool:
    """Let units start again, and start them; whether any was kept from it or did not run."""
    changed = guards.lift(units)
    if changed:
        systemctl("daemon-reload")
    for unit in units:
        changed = bool(bring_up(f"{unit}.service", restart=False, reload=False)) or changed
    return changed
