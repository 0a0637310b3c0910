"""Real OpenSSH servers on loopback, for tests."""

import getpass
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cpkit.inventory import Node, SshTarget

SSHD = Path("/usr/sbin/sshd")
START_SECONDS = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keygen(path: Path, *, passphrase: str = "", kind: str = "ed25519") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", path], check=True)
    return path


@dataclass(frozen=True)
class Sshd:
    """A running server and the key that it lets in."""

    root: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def host_key(self) -> str:
        """Its public host key, as `kind blob`."""
        return " ".join((self.root / "host.pub").read_text().split()[:2])

    @property
    def key(self) -> Path:
        return self.root / "client"

    def pin(self, path: Path) -> Path:
        """Write a known_hosts file that holds its key."""
        with path.open("a") as file:
            file.write(f"[127.0.0.1]:{self.port} {self.host_key}\n")
        return path

    def node(self, **changes: object) -> Node:
        """It as a node, its key pinned."""
        known_hosts = self.root / "known_hosts"
        if not known_hosts.exists():
            self.pin(known_hosts)
        target = SshTarget(
            "127.0.0.1", port=self.port, user=getpass.getuser(), key_file=self.key, known_hosts=known_hosts
        )
        return Node("cp1", "127.0.0.1", "control_plane", replace(target, **changes))  # type: ignore[arg-type]

    def sessions(self) -> list[int]:
        """The processes that serve its connections."""
        return _children(self.process.pid)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It and its sessions stopped by SIGSTOP: the kernel still accepts connections for it."""
        pids = [self.process.pid, *self.sessions()]
        for pid in pids:
            _kill(pid, signal.SIGSTOP)
        for pid in pids:
            _wait_until_stopped(pid)
        try:
            yield
        finally:
            for pid in pids:
                _kill(pid, signal.SIGCONT)


@contextmanager
def sshd(root: Path, *, prefix: tuple[str, ...] = (), more: str = "") -> Iterator[Sshd]:
    """A server under `root`; `prefix` runs it inside of something, and `more` goes into its configuration."""
    if not SSHD.exists():
        pytest.fail(f"{SSHD} is missing; install it: apt-get install --no-install-recommends openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks its unprivileged half in
    keygen(root / "host")
    keygen(root / "client")
    (root / "authorized_keys").write_bytes((root / "client.pub").read_bytes())
    port = free_port()
    (root / "sshd_config").write_text(_CONFIG.format(root=root, port=port) + more)
    log = (root / "log").open("wb")
    process = subprocess.Popen([*prefix, str(SSHD), "-D", "-e", "-f", str(root / "sshd_config")], stderr=log)
    log.close()
    server = Sshd(root, port, process)
    try:
        _wait_until_listening(server)
        yield server
    finally:
        for pid in server.sessions():
            _kill(pid, signal.SIGKILL)
        process.terminate()
        process.wait(10)


_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {root}/host
AuthorizedKeysFile {root}/authorized_keys
# A shell that sshd starts reads ~/.bashrc, and what a user's own does there is no part of a test.
SetEnv HOME={root}/home
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 50
"""


def _wait_until_listening(server: Sshd) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
        except OSError:
            if server.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"sshd did not start: {(server.root / 'log').read_text()}")
            time.sleep(0.02)
        else:
            return


def _kill(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # sessions end by themselves
        os.kill(pid, number)


def _children(pid: int) -> list[int]:
    try:
        own = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [*own, *(grandchild for child in own for grandchild in _children(child))]


def _wait_until_stopped(pid: int) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("T", "Z"):
            time.sleep(0.005)
