"""Podman or Docker: which one works here, and how it is called."""

import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from cpkit.errors import CpkitError

LAB_LABEL = "cpkit.lab"
NODE_LABEL = "cpkit.node"
PACKAGES = "podman runc mmdebstrap iproute2 nftables iptables netavark aardvark-dns openssh-client"
_NOFILE = 1 << 20
_INSIST_SECONDS = 5.0
_INSIST_PAUSE = 0.3
_NPROC = 32768  # Podman lets a container have no more

T = TypeVar("T")


@dataclass(frozen=True)
class Engine:
    """A container engine that answered."""

    kind: Literal["podman", "docker"]
    client: Any  # python_on_whales.DockerClient, which is imported late

    @property
    def run_options(self) -> dict[str, Any]:
        """The options that let a container boot systemd under this engine."""
        if self.kind == "podman":
            return {"systemd": "always", "ulimit": limits(), "tmpfs": ["/tmp"]}  # noqa: S108
        return {
            "cgroupns": "private",
            "stop_signal": "SIGRTMIN+3",
            "tmpfs": ["/tmp", "/run", "/run/lock"],  # noqa: S108
        }


def limits() -> list[str]:
    """Limits for a container, none above this process's own: those could not be set without CAP_SYS_RESOURCE."""
    found = []
    for name, kind, most in (("nofile", resource.RLIMIT_NOFILE, _NOFILE), ("nproc", resource.RLIMIT_NPROC, _NPROC)):
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(hard, most)
        found.append(f"{name}={value}:{value}")
    return found


@cache
def find_engine() -> Engine:
    """The first engine that works here, Podman before Docker; CpkitError says why neither does."""
    try:
        from python_on_whales import DockerClient
    except ImportError as error:
        raise CpkitError(
            "the lab needs the Python package python-on-whales", hint="Install it: pip install 'cpkit[lab]'"
        ) from error
    reasons = []
    calls: dict[Literal["podman", "docker"], list[str]] = {"podman": _podman_call(), "docker": ["docker"]}
    for kind, call in calls.items():
        reason = _unusable(kind)
        if not reason:
            # In a session of its own, so that Ctrl-C reaches cpkit alone: an engine cut short leaves half a container.
            client = DockerClient(client_call=["setsid", "--wait", *call], client_type=kind)
            reason = _does_not_answer(client)
        if not reason:
            return Engine(kind, client)
        reasons.append(f"{kind}: {reason}")
    installed = shutil.which("podman") or shutil.which("docker")
    install = f"On Debian or Ubuntu: apt-get install --no-install-recommends {PACKAGES}"
    raise CpkitError(
        f"no container engine works here ({'; '.join(reasons)})",
        hint="Run it as root: sudo cpkit lab ..." if installed and os.geteuid() != 0 else install,
    )


def unified_cgroups() -> bool:
    """Whether the host has cgroup v2 alone."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def _podman_call() -> list[str]:
    # crun refuses to start a privileged systemd container beside cgroup v1 controllers.
    return ["podman"] if unified_cgroups() else ["podman", "--runtime", "runc"]


def _unusable(kind: str) -> str:
    if shutil.which(kind) is None:
        return "not installed"
    if kind == "podman" and os.geteuid() != 0:
        return "needs root, as the host cannot reach a rootless network"
    if kind == "podman" and not unified_cgroups() and shutil.which("runc") is None:
        return "needs the package runc, as this host has cgroup v1"
    return ""


def _does_not_answer(client: Any) -> str:
    from python_on_whales.exceptions import DockerException

    try:
        client.container.list()
    except DockerException as error:
        return said(error)
    return ""


def said(error: Any) -> str:
    """The last thing the engine said on stderr, as one line."""
    lines = [line.strip() for line in (error.stderr or "").splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ") if lines else f"exit code {error.return_code}"


def insist(action: Callable[[], T], between: Callable[[], object] = lambda: None) -> T:
    """The result of the action, tried again for a while when the engine refuses: an earlier command may still end."""
    from python_on_whales.exceptions import DockerException

    deadline = time.monotonic() + _INSIST_SECONDS
    while True:
        try:
            return action()
        except DockerException:
            if time.monotonic() > deadline:
                raise
            time.sleep(_INSIST_PAUSE)
            with suppress(DockerException):
                between()


@contextmanager
def engine_errors(doing: str, *, node: str = "", hint: str = "") -> Iterator[None]:
    """Turn a failure of the engine into a CpkitError that says what was being done."""
    from python_on_whales.exceptions import DockerException

    try:
        yield
    except DockerException as error:
        raise CpkitError(f"{doing}: {said(error)}", node=node, hint=hint) from error
