"""Who listens on the ports that will be needed."""

import contextlib
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from cpkit.facts.preflight_agent.machine import Facts, text

LISTENING = "0A"


def socket_address(packed: str) -> str:
    """The kernel's hexadecimal IP address in its usual form."""
    words = [bytes.fromhex(packed[i : i + 8])[::-1] for i in range(0, len(packed), 8)]
    raw = b"".join(words) if sys.byteorder == "little" else bytes.fromhex(packed)
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def listening(ports: set[int]) -> Iterator[tuple[str, str, int]]:
    """Sockets listening on one of the ports: inode, address and port."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in text(table).splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].split(":")
            if fields[3] == LISTENING and int(port, 16) in ports:
                yield fields[9], socket_address(address), int(port, 16)


def owners(inodes: list[str]) -> dict[str, int]:
    """The process that holds each socket."""
    found: dict[str, int] = {}
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for link in Path("/proc").glob("[0-9]*/fd/*") if wanted else ():
        with contextlib.suppress(OSError):  # the process or its descriptor may be gone
            inode = wanted.get(str(link.readlink()))
            if inode:
                found[inode] = int(link.parts[2])
    return found


def process(pid: int) -> Facts:
    """Name, executable and systemd unit of a process."""
    try:
        executable = str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        executable = ""
    unit = re.search(r"/([^/\n]+\.service)", text(f"/proc/{pid}/cgroup"))
    command = text(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    return {
        "pid": pid,
        "process": text(f"/proc/{pid}/comm").strip(),
        "executable": executable,
        "unit": unit.group(1) if unit else "",
        "command": command[:120],
    }


def listeners(ports: list[int]) -> list[Facts]:
    """Who listens on the ports."""
    sockets = list(listening(set(ports)))
    pids = owners([inode for inode, _, _ in sockets])
    return [dict({"address": address, "port": port}, **process(pids.get(inode, 0))) for inode, address, port in sockets]
