"""Labs of real containers, and cpkit as its user runs it."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cpkit.lab import inventory_dir, known_layout
from cpkit.paths import state_dir


def run_cpkit(*words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run cpkit as its user would."""
    command = [sys.executable, "-m", "cpkit", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@dataclass(frozen=True)
class RaisedLab:
    """A lab that is up."""

    name: str

    @property
    def inventory(self) -> Path:
        return inventory_dir(self.name)

    @property
    def kept(self) -> Path:
        """What cpkit keeps of its cluster."""
        return state_dir() / "clusters" / self.name

    def runs(self, operation: str) -> list[Path]:
        """The directories of an operation's runs, oldest first."""
        return sorted((self.kept / "runs").glob(f"*Z-{operation}"))

    def do(self, verb: str, node: str) -> None:
        """`cpkit lab VERB` on one node: stop, start, pause."""
        done = run_cpkit("lab", verb, f"{self.name}/{node}")
        assert done.returncode == 0, done.stderr

    def on(self, node: str, line: str) -> str:
        """What a shell line prints on a node, run as root."""
        quoted = line.replace("'", "'\\''")
        done = run_cpkit("lab", "ssh", f"{self.name}/{node}", "--", f"sudo sh -c '{quoted}'")
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout.strip()

    def address(self, node: str) -> str:
        return known_layout(self.name).machine(node).address


LabFactory = Callable[..., RaisedLab]
