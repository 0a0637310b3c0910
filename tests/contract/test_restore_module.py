"""The module that restores etcd on a node, with a real etcdutl and real members; systemd's part is for labs."""

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cpkit.etcd import EtcdRefused
from tests.contract.ansible_module import Answer, call
from tests.contract.etcd_members import EtcdMember, etcd_binary, loopback, wait_for_quorum

ME = Path("/proc/self").owner()
BUMP = 1_000_000_000
ID = "20310506T070809Z-1f2e"
BACKUP = "prod-20310506T070809Z-r42"
NAMES = ("cp1", "cp2", "cp3")


# What the module wants of systemd where none runs: units that run or not, and an assertion that a drop-in makes.
SYSTEMCTL = """#!/bin/sh
root=$(dirname "$(dirname "$0")")
verb=$1; shift
echo "$verb $*" >> "$root/calls"
for unit in "$@"; do
  case $unit in --*) continue;; esac
  case $verb in
    show) state=inactive; [ -e "$root/running/$unit" ] && state=active
      printf 'ActiveState=%s\\nUnitFileState=enabled\\n' $state;;
    stop) [ -e "$root/stubborn" ] || rm -f "$root/running/$unit";;
    start) guard="$root/units/$unit.d/cpkit-restore.conf"
      if [ -e "$guard" ]; then grep -q "AssertPathExists=!$guard" "$guard" && echo "Assertion failed" >&2; exit 1; fi
      [ -e "$root/run/first.conf" ] && cp "$root/run/first.conf" "$root/first-$unit"
      touch "$root/running/$unit";;
  esac
done
"""
UNIT = """[Service]
ExecStart=/opt/etcd \\
  --feature-gates=InitialCorruptCheck=true,CompactHashCheck=true \\
  --name=cp1
Restart=always
"""
UNITS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True)
class Node:
    """A node's paths, all below one folder."""

    root: Path
    name: str = "cp1"
    peers: tuple[tuple[str, str], ...] = (("cp1", "https://127.0.0.1:2380"),)

    @property
    def data(self) -> Path:
        return self.root / "lib" / "etcd"

    @property
    def old(self) -> Path:
        return self.root / "lib" / f"etcd.before-{ID}"

    @property
    def new(self) -> Path:
        return self.root / "lib" / f"etcd.restore-{ID}"

    @property
    def marker(self) -> Path:
        return self.root / "restore.json"

    def go(self, stage: str, *, check: bool = False, **more: Any) -> Answer:
        peers = dict(self.peers)
        arguments = {
            "stage": stage,
            "restore": ID,
            "backup": BACKUP,
            "sha256": "snapshot",
            "data_dir": str(self.data),
            "owner": ME,
            "member": {
                "name": self.name,
                "initial_cluster": ",".join(f"{name}={url}" for name, url in self.peers),
                "token": f"prod-{ID}",
                "peer_url": peers[self.name],
            },
        }
        constants = {
            "MARKER": str(self.marker),
            "SNAPSHOTS": str(self.root / "snapshots"),
            "UNITS": str(self.root / "units"),
            "FIRST": str(self.root / "run" / "first.conf"),
            "ETCDUTL": str(etcd_binary().with_name("etcdutl")),
        }
        return call("cpkit_restore", arguments | more, check=check, constants=constants, path=str(self.root / "bin"))

    @property
    def running(self) -> set[str]:
        return {path.name.removesuffix(".service") for path in (self.root / "running").iterdir()}

    @property
    def guarded(self) -> set[str]:
        return {path.parent.name.removesuffix(".service.d") for path in (self.root / "units").glob("*/*.conf")}

    def reboot(self) -> None:
        """Every unit that may start does."""
        shutil.rmtree(self.root / "running")
        (self.root / "running").mkdir()
        for unit in UNITS:
            if unit not in self.guarded:
                (self.root / "running" / f"{unit}.service").touch()

    def at(self, stage: str) -> None:
        """Pretend that systemd's stages are over."""
        self.marker.write_text(json.dumps(json.loads(self.marker.read_text()) | {"stage": stage}))

    @property
    def stage(self) -> str:
        return str(json.loads(self.marker.read_text())["stage"])


def node(root: Path, snapshot: Path, **more: Any) -> Node:
    """A node that has old data and the snapshot."""
    made = Node(root, **more)
    (made.data / "member" / "snap").mkdir(parents=True)
    (made.data / "member" / "snap" / "db").write_text("old")
    (root / "snapshots").mkdir()
    shutil.copy(snapshot, root / "snapshots" / "snapshot.db")
    for folder in ("bin", "units", "running"):
        (root / folder).mkdir()
    (root / "units" / "etcd.service").write_text(UNIT)
    (root / "bin" / "systemctl").write_text(SYSTEMCTL)
    (root / "bin" / "systemctl").chmod(0o755)
    for unit in UNITS:
        (root / "running" / f"{unit}.service").touch()
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EtcdMember, Path]]:
    """A member with keys, and a snapshot of it."""
    root = tmp_path_factory.mktemp("source")
    with loopback(etcd_binary(), root) as place:
        place.announce("cp1")
        member = place.start("cp1")
        wait_for_quorum(member)
        with member.client() as client:
            for number in range(300):
                client.etcd3.put(f"/registry/configmaps/{number}", "x" * 300)
            client.etcd3.delete("/registry/configmaps/7")
            snapshot = root / "snapshot.db"
            snapshot.write_bytes(b"".join(client.snapshot(timeout=20)))
        yield member, snapshot


@pytest.fixture
def one(tmp_path: Path, source: tuple[EtcdMember, Path]) -> Node:
    return node(tmp_path, source[1])


def content(place: Path) -> str:
    """What is in a data directory: the old data, new data, or nothing."""
    db = place / "member" / "snap" / "db"
    if not db.exists():
        return "nothing"
    return "old" if db.read_bytes() == b"old" else "new"


def test_new_data_is_made_beside_the_old_once(one: Node) -> None:
    assert one.go("begun").changed
    assert not one.go("begun").changed
    answer = one.go("prepared")
    assert answer.changed, answer.problem
    assert (content(one.data), content(one.new), one.stage) == ("old", "new", "prepared")
    assert stat.S_IMODE(one.new.stat().st_mode) == 0o700
    files = [path for path in one.new.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {path.owner() for path in one.new.rglob("*")} == {ME}
    inode = (one.new / "member" / "snap" / "db").stat().st_ino
    assert not one.go("prepared").changed
    assert (one.new / "member" / "snap" / "db").stat().st_ino == inode
    assert stat.S_IMODE(one.marker.stat().st_mode) == 0o600


def test_what_a_cut_left_half_made_is_made_anew(one: Node) -> None:
    one.go("begun")
    part = one.new.with_name(f"etcd.part-{ID}")
    (part / "member").mkdir(parents=True)
    (part / "member" / "rubbish").write_text("half")
    assert one.go("prepared").changed
    assert not part.exists()
    assert content(one.new) == "new"


@pytest.mark.parametrize("damage", ["flipped", "cut", "trailer", "empty", "absent"])
def test_a_snapshot_that_is_damaged_leaves_nothing(one: Node, damage: str) -> None:
    path = one.root / "snapshots" / "snapshot.db"
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "trailer":
        data = data[:-32]
    elif damage == "empty":
        data = bytearray()
    path.write_bytes(data)
    if damage == "absent":
        path.unlink()
    one.go("begun")
    assert "etcdutl could not restore the snapshot" in one.go("prepared").problem
    assert one.stage == "begun"
    assert sorted(each.name for each in one.data.parent.iterdir()) == ["etcd"]
    assert content(one.data) == "old"


# Every state that a cut in the middle of the switch can leave: which of the three places hold what.
def cut_after(node: Node, renames: int) -> None:
    """Leave the node as if the switch had been cut off after so many of its steps."""
    if renames >= 1:
        node.old.mkdir()
    if renames >= 2:
        (node.data / "member").rename(node.old / "member")
    if renames >= 3:
        (node.new / "member").rename(node.data / "member")
    if renames >= 4:
        node.new.rmdir()


@pytest.mark.parametrize("renames", range(5))
def test_a_switch_goes_on_from_wherever_it_was_cut_off(one: Node, renames: int) -> None:
    one.go("begun")
    one.go("prepared")
    one.at("quiet")
    cut_after(one, renames)
    answer = one.go("switched")
    assert not answer.problem
    assert (content(one.data), content(one.old), one.new.exists(), one.stage) == ("new", "old", False, "switched")
    assert answer.values["aside"] == str(one.old)
    assert not one.go("switched").changed


@pytest.mark.parametrize("renames", range(5))
def test_the_way_back_begins_wherever_the_switch_was_cut_off(one: Node, renames: int) -> None:
    one.go("begun")
    one.go("prepared")
    cut_after(one, renames)
    assert one.go("aborting").changed
    assert not one.go("reverted").problem
    assert (content(one.data), one.old.exists(), one.new.exists()) == ("old", False, False)
    assert not one.go("reverted").problem
    assert content(one.data) == "old"
    assert not one.go("aborted").problem
    assert not one.marker.exists()


@pytest.mark.parametrize("steps", range(3))
def test_the_way_back_goes_on_from_wherever_it_was_cut_off(one: Node, steps: int) -> None:
    one.go("begun")
    one.go("prepared")
    cut_after(one, 4)
    one.go("aborting")
    if steps >= 1:
        one.new.mkdir()
        (one.data / "member").rename(one.new / "member")
    if steps >= 2:
        (one.old / "member").rename(one.data / "member")
    assert not one.go("reverted").problem
    assert (content(one.data), one.old.exists(), one.new.exists()) == ("old", False, False)


def test_a_machine_without_data_is_given_some_and_loses_it(tmp_path: Path, source: tuple[EtcdMember, Path]) -> None:
    for place in ("forth", "back"):
        (tmp_path / place).mkdir()
        fresh = node(tmp_path / place, source[1])
        shutil.rmtree(fresh.data / "member")
        fresh.go("begun")
        fresh.go("prepared")
        fresh.at("quiet")
        assert fresh.go("switched").changed
        assert (content(fresh.data), content(fresh.old)) == ("new", "nothing")
        if place == "back":
            fresh.go("aborting")
            assert not fresh.go("reverted").problem
            assert (content(fresh.data), fresh.old.exists()) == ("nothing", False)


def test_services_end_and_stay_down_until_it_is_their_turn(one: Node) -> None:
    one.go("begun")
    one.go("prepared")
    assert (one.running, one.guarded) == (set(UNITS), set())
    assert one.go("quiet").changed
    assert (one.running, one.guarded) == ({"etcd"}, set(UNITS))
    assert not one.go("quiet").changed
    one.reboot()
    assert one.running == set()
    assert one.go("switched").changed
    one.reboot()
    assert (one.running, one.stage) == (set(), "switched")
    assert one.go("started").changed
    assert (one.running, one.guarded) == ({"etcd"}, set(UNITS) - {"etcd"})
    first = (one.root / "first-etcd.service").read_text()
    assert first.startswith(
        "[Service]\nExecStart=\nExecStart=/opt/etcd \\\n  --feature-gates=InitialCorruptCheck=false,"
    )
    assert first.endswith("--name=cp1\n")
    assert not (one.root / "run" / "first.conf").exists()
    one.reboot()
    assert one.running == {"etcd"}
    assert not one.go("quiet").changed
    assert not one.go("switched").changed
    assert (one.running, content(one.data)) == ({"etcd"}, "new")


def test_etcds_data_is_not_moved_while_it_runs(one: Node) -> None:
    one.go("begun")
    one.go("prepared")
    one.at("stopped")
    (one.root / "stubborn").touch()
    assert "etcd runs, and its data must not be moved under it" in one.go("switched").problem
    assert content(one.data) == "old"


@pytest.mark.parametrize("stage", ["prepared", "quiet", "switched"])
def test_going_back_starts_again_what_was_stopped(one: Node, stage: str) -> None:
    stages = ("begun", "prepared", "quiet", "switched")
    for each in stages[: stages.index(stage) + 1]:
        assert not one.go(each).problem
    for each in ("aborting", "reverted", "resumed", "aborted"):
        assert not one.go(each).problem
    assert (one.running, one.guarded, content(one.data)) == (set(UNITS), set(), "old")
    assert sorted(path.name for path in one.data.parent.iterdir()) == ["etcd"]
    assert not (one.root / "snapshots").exists()
    assert not one.go("aborting").changed  # a node that has no part in it any more


def test_a_guard_that_a_cut_kept_from_being_put_is_put(one: Node) -> None:
    one.go("begun")
    one.go("prepared")
    one.at("held")
    assert one.go("quiet").changed
    assert one.guarded == set(UNITS)


@pytest.mark.parametrize("stage", ["committed", "started", "serving"])
def test_there_is_no_way_back_once_etcd_may_have_started(one: Node, stage: str) -> None:
    one.go("begun")
    one.go("prepared")
    one.at(stage)
    for check in (True, False):
        assert "etcd may have taken writes on the new data" in one.go("aborting", check=check).problem
    assert one.stage == stage


def test_once_going_back_nothing_goes_forward(one: Node) -> None:
    one.go("begun")
    one.go("aborting")
    for stage in ("begun", "prepared", "quiet", "switched", "started", "serving", "done"):
        assert "this restore is being taken back" in one.go(stage).problem
    assert (content(one.data), one.stage) == ("old", "aborting")


@pytest.mark.parametrize(
    ("before", "stage"), [("begun", "switched"), ("prepared", "switched"), ("quiet", "started"), ("begun", "serving")]
)
def test_no_stage_is_left_out(one: Node, before: str, stage: str) -> None:
    one.go("begun")
    one.at(before)
    assert f"the restore is {before} here, and not" in one.go(stage).problem
    assert (content(one.data), one.stage) == ("old", before)


def test_another_restore_is_refused_and_a_finished_one_forgotten(one: Node) -> None:
    one.go("begun")
    for stage in ("begun", "prepared", "aborting"):
        assert f"a restore of {BACKUP} is under way here" in one.go(stage, restore="another").problem
    one.at("done")
    assert one.go("begun", restore="another").changed
    assert json.loads(one.marker.read_text())["restore"] == "another"


def test_a_node_that_is_through_is_left_alone_while_others_go_on(one: Node) -> None:
    stages = ("begun", "prepared", "quiet", "switched", "started")
    for stage in stages:
        assert not one.go(stage).problem
    one.at("done")
    one.reboot()
    before = one.running
    for stage in stages:
        assert not one.go(stage, check=True).changed
        answer = one.go(stage)
        assert (answer.problem, answer.changed) == ("", False)
    assert (one.stage, one.running, content(one.data), content(one.old)) == ("done", before, "new", "old")


def test_check_mode_changes_nothing(one: Node) -> None:
    assert one.go("begun", check=True).changed
    assert not one.marker.exists()
    one.go("begun")
    before = one.marker.read_bytes()
    for stage in ("prepared", "quiet", "switched", "started", "aborting"):
        assert one.go(stage, check=True).changed
    assert one.marker.read_bytes() == before
    assert sorted(each.name for each in one.data.parent.iterdir()) == ["etcd"]


def test_a_marker_that_cannot_be_read_stops_everything(one: Node) -> None:
    one.marker.write_text("{ rubbish")
    for stage in ("begun", "prepared", "aborting"):
        assert "cannot be read" in one.go(stage).problem


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_data_directory_that_is_a_mount_point_is_restored_inside(one: Node) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(one.data)], check=True)
    try:
        (one.data / "member" / "snap").mkdir(parents=True)
        (one.data / "member" / "snap" / "db").write_text("old")
        one.go("begun")
        assert not one.go("prepared").problem
        one.at("quiet")
        answer = one.go("switched")
        assert not answer.problem
        assert answer.values["aside"] == str(one.data / f".before-{ID}")
        assert (content(one.data), content(Path(answer.values["aside"]))) == ("new", "old")
    finally:
        subprocess.run(["umount", str(one.data)], check=True)


def test_three_members_start_on_what_was_restored(tmp_path: Path, source: tuple[EtcdMember, Path]) -> None:
    member, snapshot = source
    with loopback(etcd_binary(), tmp_path) as place:
        for name in NAMES:
            place.announce(name)
        for name in NAMES:
            home = tmp_path / f"node-{name}"
            home.mkdir()
            made = node(home, snapshot, name=name, peers=tuple(place.peers.items()))
            made.go("begun")
            assert not made.go("prepared").problem
            made.at("quiet")
            assert not made.go("switched").problem
        place.data = {name: tmp_path / f"node-{name}" / "lib" / "etcd" for name in NAMES}
        started = [place.start(name) for name in NAMES]
        for each in started:
            wait_for_quorum(each)
        with member.client() as before, started[1].client(timeout=5) as after:
            revision = before.status().revision
            assert after.probe() == revision + BUMP
            assert after.status().cluster_id != before.status().cluster_id
            assert sorted(row.name for row in after.members()) == list(NAMES)
            for number in range(300):
                key = f"/registry/configmaps/{number}".encode()
                assert after.get(key) == before.get(key)
            # Whoever watches from a revision of before has to list again.
            with pytest.raises(EtcdRefused, match="compacted"):
                after.keys(b"/", b"0", revision=revision, limit=1)
            now = after.prove_write(b"cpkit/test")
        hashes = set()
        for each in started:
            with each.client(timeout=5) as client:
                client.probe()
                hashes.add(client.hash_kv(now).hash)
        assert len(hashes) == 1
