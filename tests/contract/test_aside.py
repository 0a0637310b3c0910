"""The module that moves what a machine leaves aside: all of it into one dated folder, whatever cuts it off."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.ansible_module import Answer, call


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    for path in ("etc/kubernetes/pki/ca.key", "var/lib/etcd/member/wal/0.wal", "etc/unit"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    return tmp_path


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on another file system."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def aside(machine: Path, *paths: str, root: Path | None = None, check: bool = False) -> Answer:
    wanted = [str(machine / path) for path in paths]
    return call("cpkit_aside", {"paths": wanted, "root": str(root or machine / "aside")}, check=check)


def test_everything_is_in_one_dated_folder_and_nothing_is_deleted(machine: Path) -> None:
    done = aside(machine, "etc/kubernetes", "var/lib/etcd", "etc/absent", "etc/unit")
    assert done.changed
    folder = Path(done.values["folder"])
    assert folder.parent == machine / "aside"
    assert folder.stat().st_mode & 0o777 == 0o700
    held = folder / machine.relative_to("/")
    for path in ("etc/kubernetes/pki/ca.key", "var/lib/etcd/member/wal/0.wal", "etc/unit"):
        assert (held / path).read_text() == path
        assert not (machine / path).exists()
    assert [each.name for each in (machine / "aside").iterdir()] == [folder.name]
    again = aside(machine, "etc/kubernetes", "var/lib/etcd", "etc/unit")
    assert (again.changed, again.values["folder"]) == (False, "")


def test_a_call_that_was_cut_off_is_taken_up_into_the_same_folder(machine: Path) -> None:
    folder = machine / "aside" / "20310506T070809Z"
    (folder / "etc").mkdir(parents=True)
    (machine / "aside" / "unfinished").symlink_to(folder)
    done = aside(machine, "etc/unit")
    assert done.values["folder"] == str(folder)
    assert (folder / (machine / "etc/unit").relative_to("/")).read_text() == "etc/unit"
    assert [each.name for each in (machine / "aside").iterdir()] == [folder.name]


def test_what_is_on_another_file_system_stays_there_and_a_link_leads_to_it(machine: Path, memory: Path) -> None:
    done = aside(machine, "var/lib/etcd", root=memory)
    link = Path(done.values["folder"]) / (machine / "var/lib/etcd").relative_to("/")
    assert link.is_symlink()
    assert (link / "etcd/member/wal/0.wal").read_text() == "var/lib/etcd/member/wal/0.wal"
    assert link.resolve().parent == machine / "var/lib"
    assert not (machine / "var/lib/etcd").exists()


def test_checking_moves_nothing(machine: Path) -> None:
    assert aside(machine, "etc/kubernetes", check=True).changed
    assert (machine / "etc/kubernetes/pki/ca.key").exists()
    assert not (machine / "aside").exists()
