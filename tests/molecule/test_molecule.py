"""Every Molecule scenario, on machines of its own: created, checked, converged twice, checked again, verified, removed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCENARIOS = sorted(path.parent.name for path in HERE.glob("*/molecule.yml"))
LIMIT = 600.0  # seconds; a scenario takes one minute at most on an idle machine
END = 60.0  # seconds to take the machines down when the limit is over


def test_the_roles_that_can_stand_alone_have_scenarios() -> None:
    assert SCENARIOS == ["etcd", "load_balancer", "node", "pki"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str) -> None:
    code, output = molecule("test", scenario, LIMIT)
    assert code == 0, output
    assert "Missing playbook" not in output  # Molecule passes over a step whose playbook it does not find


def molecule(command: str, scenario: str, limit: float) -> tuple[int, str]:
    """Run Molecule on a scenario; its exit code and all that it said."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
        "MOLECULE_COMMAND_BORDERS": "false",
    }
    words = ["molecule", "--base-config", HERE / "base.yml", command, "-s", scenario]
    try:
        done = subprocess.run(
            words,
            cwd=HERE.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        if command != "destroy":
            molecule("destroy", scenario, END)
        return -1, f"{(error.stdout or b'').decode()}\nmolecule {command} took more than {limit:.0f} s"
    return done.returncode, done.stdout
