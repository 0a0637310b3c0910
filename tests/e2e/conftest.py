"""Fixtures of the end-to-end tests."""

import secrets
from collections.abc import Iterator

import pytest

from tests.e2e.raised import LabFactory, RaisedLab, run_cpkit


@pytest.fixture(scope="module")
def make_lab() -> Iterator[LabFactory]:
    """Raise labs of a size on demand; each is taken down when its module is through, whatever happened.

    Not later: the kernel's inotify instances suffice for about two labs at a time.
    """
    names: list[str] = []

    def make(*, nodes: int = 3, balancers: int = 2, spare: int = 0, version: str = "") -> RaisedLab:
        name = f"e{secrets.token_hex(3)}"
        names.append(name)
        sizes = ("--nodes", str(nodes), "--balancers", str(balancers), "--spare", str(spare))
        done = run_cpkit("lab", "up", name, *sizes, *(("--kubernetes-version", version) if version else ()))
        assert done.returncode == 0, done.stderr
        return RaisedLab(name)

    yield make
    for name in names:
        run_cpkit("lab", "down", name)
