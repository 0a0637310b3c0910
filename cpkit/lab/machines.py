"""One machine of a lab: made, booted, and known to be ready."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cpkit.errors import CpkitError
from cpkit.lab.engine import LAB_LABEL, NODE_LABEL, Engine, engine_errors, insist, said
from cpkit.lab.layout import Layout, Machine
from cpkit.lab.store import node_dir, prepared_machines
from cpkit.paths import cache_dir

BOOT_DEADLINE = 60.0
ARTIFACTS_ON_NODE = "/var/cache/cpkit/artifacts"
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_POLL = 0.05
_LOOK = 1.0  # seconds between two looks at whether a machine that boots still runs
_NEVER_STARTED = ("created", "configured", "initialized")
_RUNNING = ("running", "degraded")  # one failed unit of the distribution does not make a machine useless


def containers(engine: Engine, name: str) -> dict[str, Any]:
    """The containers of a lab by machine name, in whatever state they are."""
    with engine_errors("listing the lab's containers"):
        found = engine.client.container.list(all=True, filters=[("label", f"{LAB_LABEL}={name}")])
        return {container.config.labels[NODE_LABEL]: container for container in found}


def lab_labels(engine: Engine) -> set[str]:
    """The names of the labs that have containers, known to this machine's state or not."""
    with engine_errors("listing containers"):
        found = engine.client.container.list(all=True, filters=[("label", LAB_LABEL)])
        return {container.config.labels[LAB_LABEL] for container in found}


def remove_remnants(engine: Engine, name: str) -> None:
    """Remove what an engine killed half-way left of a lab's containers: on no list, but found by name."""
    from python_on_whales.exceptions import DockerException

    names = [f"cpkit-{name}-{machine}" for machine in prepared_machines(name)]
    if names:
        with suppress(DockerException):
            engine.client.container.remove(names, force=True)


def to_make(found: Any | None) -> bool:
    """Whether a machine has yet to be made: there is no container, or its making was cut short."""
    return found is None or found.state.status in _NEVER_STARTED


def bring_up(
    engine: Engine, layout: Layout, machine: Machine, image: str, found: Any | None, progress: Callable[[str], None]
) -> bool:
    """Make the machine run and be ready, whatever state it is in; False when it already ran."""
    if to_make(found):
        progress("creating")
        with engine_errors("creating the machine", node=machine.name):
            _create_afresh(engine, layout, machine, image, found)
        changed = True
    else:
        changed = resume(found, machine, progress)
    finish_boot(engine, layout, machine, progress)
    return changed


def resume(found: Any, machine: Machine, progress: Callable[[str], None]) -> bool:
    """Start or unpause a machine that exists; False when it already runs."""
    with engine_errors("starting the machine", node=machine.name):
        state = found.state.status
        if state == "running":
            return False
        progress("starting")
        if state == "paused":
            found.unpause()
        else:
            found.start()
    return True


def finish_boot(engine: Engine, layout: Layout, machine: Machine, progress: Callable[[str], None]) -> None:
    """Wait until the machine takes SSH and has booted; CpkitError when it does not in time."""
    progress("booting")
    deadline = time.monotonic() + BOOT_DEADLINE
    name = layout.container(machine)
    _await_sshd(engine, name, machine, deadline)
    while (state := _system_state(engine, name)) not in _RUNNING:
        if time.monotonic() > deadline:
            raise CpkitError(
                f"systemd is {state!r} after {BOOT_DEADLINE:.0f} s",
                node=machine.name,
                hint=f"Look inside: {engine.kind} exec {name} systemctl list-jobs",
            )
        time.sleep(_POLL)
    _claim_endpoint(engine, layout, machine)
    progress("ready")


def _create_afresh(engine: Engine, layout: Layout, machine: Machine, image: str, found: Any | None) -> None:
    def remove() -> None:
        # By name: what a killed engine leaves is not in its list of containers, yet holds the name.
        engine.client.container.remove(layout.container(machine), force=True)

    if found:
        insist(remove)
    insist(lambda: _create(engine, layout, machine, image), between=remove)


def _create(engine: Engine, layout: Layout, machine: Machine, image: str) -> None:
    artifacts = cache_dir() / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    container = engine.client.container.create(
        image,
        ["/sbin/init"],
        name=layout.container(machine),
        hostname=machine.name,
        networks=[layout.network_name],
        ip=machine.address,
        mac_address=machine.mac,
        privileged=True,
        pids_limit=-1,
        volumes=[(artifacts, ARTIFACTS_ON_NODE, "ro")],
        labels={LAB_LABEL: layout.name, NODE_LABEL: machine.name},
        pull="never",
        **engine.run_options,
    )
    container.copy_to(f"{node_dir(layout.name, machine.name)}/.", "/etc/ssh/")
    container.start()


def _await_sshd(engine: Engine, container: str, machine: Machine, deadline: float) -> None:
    last: Exception | None = None
    looked = time.monotonic()
    while time.monotonic() < deadline:
        if time.monotonic() - looked > _LOOK:
            _insist_it_runs(engine, container, machine)
            looked = time.monotonic()
        try:
            with socket.create_connection((machine.address, 22), timeout=1) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError as error:
            last = error
        time.sleep(_POLL)
    raise CpkitError(
        f"nothing answers SSH at {machine.address} after {BOOT_DEADLINE:.0f} s ({last})",
        node=machine.name,
        hint="If the machine runs, the host's firewall may keep its bridge shut.",
    )


def _insist_it_runs(engine: Engine, container: str, machine: Machine) -> None:
    with engine_errors("looking at the machine", node=machine.name):
        state = engine.client.container.inspect(container).state
    if state.running or state.paused:
        return
    raise CpkitError(
        f"its systemd ended while booting, with code {state.exit_code}",
        node=machine.name,
        hint="With many machines the usual reason is the kernel's limit of inotify instances "
        f"({INOTIFY.read_text().strip()} in {INOTIFY}): take other labs down, or raise it.",
    )


def _system_state(engine: Engine, container: str) -> str:
    from python_on_whales.exceptions import DockerException

    try:
        # `degraded` exits 1, so the word is what counts.
        command = ["sh", "-c", "systemctl is-system-running --wait || true"]
        return str(engine.client.container.execute(container, command)).strip()
    except DockerException as error:
        return said(error)


def _claim_endpoint(engine: Engine, layout: Layout, machine: Machine) -> None:
    # Without balancers the endpoint is somebody else's to provide; in a lab there is nobody else.
    if layout.balancers or machine.name != "cp1":
        return
    command = ["ip", "address", "replace", f"{layout.vip}/32", "dev", "eth0"]
    with engine_errors("giving cp1 the lab's endpoint address", node=machine.name):
        engine.client.container.execute(layout.container(machine), command)
