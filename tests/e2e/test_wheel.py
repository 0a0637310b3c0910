"""What `pipx install cpkit` gives: a wheel that needs no checkout to bring up a cluster; here of one node."""

import json
import os
import re
import secrets
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import cpkit

CHECKOUT = Path(__file__).parents[2]


def run(*words: str | Path, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a program with nothing in its environment that could lead to the checkout."""
    kept = ("HOME", "PATH", "LANG", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
    prefixes = ("PIP_", "HTTP", "http", "SSL_", "REQUESTS_", "CONTAINER_", "DOCKER_")
    environment = {k: v for k, v in os.environ.items() if k in kept or k.startswith(prefixes)}
    environment["PATH"] = os.pathsep.join(
        folder for folder in environment["PATH"].split(os.pathsep) if not folder.startswith(str(CHECKOUT))
    )
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    built = run(sys.executable, "-m", "pip", "wheel", *options, CHECKOUT, cwd=folder)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@dataclass(frozen=True)
class Installed:
    """cpkit in an environment of its own, run from a folder of its own."""

    folder: Path

    def python(self, code: str) -> str:
        done = run(self.folder / "venv/bin/python", "-c", code, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def cpkit(self, *words: str | Path) -> str:
        done = run(self.folder / "venv/bin/cpkit", *words, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "venv", with_pip=True)
    pip = run(folder / "venv/bin/python", "-m", "pip", "install", "--quiet", f"{wheel}[lab]", cwd=folder)
    assert pip.returncode == 0, pip.stderr
    return Installed(folder)


def test_the_wheel_carries_every_playbook_and_role_and_nothing_else_of_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if "__pycache__" not in name}
    listed = subprocess.run(
        ["git", "ls-files", "playbooks", "roles"], cwd=CHECKOUT, capture_output=True, text=True, timeout=20, check=False
    )
    kept = listed.stdout.split() or [
        str(path.relative_to(CHECKOUT))
        for folder in ("playbooks", "roles")
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert {f"cpkit/_ansible/{name}" for name in kept} <= packed
    assert {name.split("/")[0] for name in packed} == {"cpkit", f"cpkit-{cpkit.__version__}.dist-info"}


def test_the_installed_command_comes_from_the_wheel_alone(installed: Installed) -> None:
    assert cpkit.__version__ in installed.cpkit("--version")
    where = Path(installed.python("import cpkit; print(cpkit.__file__)"))
    assert where.is_relative_to(installed.folder / "venv")
    found = installed.python(
        "import sys; print(any((__import__('pathlib').Path(p) / 'tests').is_dir() for p in sys.path))"
    )
    assert found == "False", "the checkout cannot be imported"


@pytest.fixture(scope="module")
def lab(installed: Installed) -> Iterator[str]:
    name = f"e{secrets.token_hex(3)}"
    try:
        installed.cpkit("lab", "up", name, "--nodes", "1", "--balancers", "0")
        yield name
    finally:
        installed.cpkit("lab", "down", name)


def test_it_brings_up_a_cluster_of_one_node(installed: Installed, lab: str) -> None:
    kubeconfig = installed.folder / "kubeconfig"
    output = installed.cpkit("bootstrap", "-i", lab, "--yes", "--kubeconfig", kubeconfig)
    line = re.search(r"^The same without cpkit: (.*)$", output, re.MULTILINE)
    assert line
    assert f"{installed.folder}/venv/lib" in line[1], "the playbooks are the wheel's"
    assert str(CHECKOUT) not in line[1]
    health = json.loads(installed.cpkit("health", "-i", lab, "-o", "json"))
    assert health["verdict"] == "healthy"
    assert health["etcd"]["summary"].startswith("1 voter, 1 healthy: no more may fail")
    again = installed.cpkit("bootstrap", "-i", lab, "--yes", "--kubeconfig", kubeconfig)
    assert "is healthy: 0 changes" in again
