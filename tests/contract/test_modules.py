"""cpkit's own Ansible modules, each in a process and a folder of its own."""

import grp
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cpkit.laid import lie_as_wanted
from tests.contract.ansible_module import Answer, call

SECRET = "never-to-be-seen-42"
ME = Path("/proc/self").owner()
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder: its mode and its content."""
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# cpkit_files


def files(*entries: dict[str, Any], check: bool = False, diff: bool = True, **more: Any) -> Answer:
    owned = [{"owner": ME, "mode": "0600"} | entry for entry in entries]
    return call("cpkit_files", {"files": owned, **more}, check=check, diff=diff)


def test_files_are_laid_down_once(tmp_path: Path) -> None:
    entries = (
        {"path": f"{tmp_path}/deep/er/key", "content": SECRET, "secret": True},
        {"path": f"{tmp_path}/open", "content": "open\n", "mode": "0644"},
    )
    first = files(*entries, directories=[{"path": f"{tmp_path}/data", "mode": "0700", "owner": ME}])
    assert first.changed
    assert first.values["paths"] == [f"{tmp_path}/data", f"{tmp_path}/deep/er/key", f"{tmp_path}/open"]
    assert tree(tmp_path) == {"deep/er/key": (0o600, SECRET.encode()), "open": (0o644, b"open\n")}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    inodes = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
    second = files(*entries, directories=[{"path": f"{tmp_path}/data", "mode": "0700", "owner": ME}])
    assert (second.changed, second.values["paths"], second.values["diff"]) == (False, [], [])
    assert inodes == {path: path.stat().st_ino for path in tmp_path.rglob("*")}


@pytest.mark.parametrize("spoil", ["content", "mode", "link"])
def test_what_differs_is_put_right_and_nothing_else_is_touched(tmp_path: Path, spoil: str) -> None:
    entries = [{"path": f"{tmp_path}/{name}", "content": name} for name in ("one", "two")]
    files(*entries)
    one, two = tmp_path / "one", tmp_path / "two"
    kept = two.stat().st_ino
    if spoil == "content":
        one.write_text("other")
    elif spoil == "mode":
        one.chmod(0o644)
    else:
        one.rename(tmp_path / "elsewhere")
        one.symlink_to(tmp_path / "elsewhere")
    answer = files(*entries)
    assert answer.values["paths"] == [str(one)]
    assert (one.read_text(), stat.S_IMODE(one.stat().st_mode), one.is_symlink()) == ("one", 0o600, False)
    assert two.stat().st_ino == kept


def test_check_mode_tells_what_would_change_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("before")
    before = tree(tmp_path)
    answer = files(
        {"path": f"{tmp_path}/open", "content": "after"},
        {"path": f"{tmp_path}/new/file", "content": "x"},
        check=True,
        commands=[["touch", f"{tmp_path}/ran"]],
        directories=[{"path": f"{tmp_path}/made", "mode": "0755", "owner": ME}],
    )
    assert answer.changed
    assert [(diff["before"], diff["after"]) for diff in answer.values["diff"]] == [("before", "after"), ("", "x")]
    assert tree(tmp_path) == before
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("held", ["", "an older secret"])
def test_a_secret_is_in_no_answer(tmp_path: Path, held: str, *, check: bool) -> None:
    if held:
        (tmp_path / "key").write_text(held)
    answer = files({"path": f"{tmp_path}/key", "content": SECRET, "secret": True}, check=check)
    assert answer.changed
    assert len(answer.values["diff"]) == 1
    # Ansible itself echoes what a module was called with; the tasks that carry keys set no_log for that.
    shown = json.dumps({key: value for key, value in answer.values.items() if key != "invocation"})
    assert SECRET not in shown
    assert not held or held not in shown


def test_a_file_that_cannot_be_laid_down_leaves_all_of_them_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("before")
    (tmp_path / "one").chmod(0o600)
    before = tree(tmp_path)
    answer = files(
        {"path": f"{tmp_path}/one", "content": SECRET},
        {"path": f"{tmp_path}/two", "content": SECRET, "owner": "nobody-has-this-name"},
    )
    assert "nobody-has-this-name" in answer.problem
    assert tree(tmp_path) == before


@as_root
def test_a_file_belongs_to_its_owner_from_the_moment_it_has_its_name(tmp_path: Path) -> None:
    path = tmp_path / "key"
    seen: set[tuple[int, int, bytes]] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            status = os.fstat(descriptor)
            seen.add((status.st_uid, stat.S_IMODE(status.st_mode), os.read(descriptor, 100)))
            os.close(descriptor)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        files({"path": str(path), "content": SECRET, "owner": "nobody", "mode": "0400"})
    finally:
        over.set()
        watcher.join()
    assert seen <= {(path.stat().st_uid, 0o400, SECRET.encode())}
    assert path.owner() == "nobody"


def test_a_link_is_laid_down_with_the_files_and_taken_back_with_them(tmp_path: Path) -> None:
    unit, link, kept = tmp_path / "unit", tmp_path / "opt/etcd/current", tmp_path / "kept"
    for version in ("3.6.16", "3.7.3"):
        (tmp_path / "opt/etcd" / version).mkdir(parents=True)
        entries = ({"path": str(unit), "content": version}, {"path": str(link), "link": version})
        first = files(*entries, keep=str(kept) if version == "3.7.3" else "")
        assert first.values["paths"] == [str(unit), str(link)]
        assert link.readlink() == Path(version)
        assert not files(*entries).changed
    assert first.values["diff"][1]["before"] == "3.6.16\n"
    assert first.values["diff"][1]["after"] == "3.7.3\n"
    back = call("cpkit_kept", {"path": str(kept), "state": "restored"})
    assert set(back.values["paths"]) == {str(unit), str(link)}
    assert (unit.read_text(), link.readlink()) == ("3.6.16", Path("3.6.16"))
    assert not kept.exists()


def test_what_was_kept_first_stays_when_a_change_is_made_again(tmp_path: Path) -> None:
    link, kept = tmp_path / "current", tmp_path / "kept"
    link.symlink_to("3.6.16")
    for version in ("3.7.2", "3.7.3"):
        files({"path": str(link), "link": version}, keep=str(kept))
    call("cpkit_kept", {"path": str(kept), "state": "restored"})
    assert link.readlink() == Path("3.6.16")


def test_checking_a_link_changes_nothing(tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to("3.6.16")
    assert files({"path": str(link), "link": "3.7.3"}, check=True).changed
    assert link.readlink() == Path("3.6.16")


def test_commands_run_after_a_change_and_only_then(tmp_path: Path) -> None:
    command = [["sh", "-c", f"cat {tmp_path}/file >> {tmp_path}/ran"]]
    for _ in range(2):
        files({"path": f"{tmp_path}/file", "content": "x"}, commands=command)
    assert (tmp_path / "ran").read_text() == "x"


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    answer = files({"path": f"{tmp_path}/file", "content": "x"}, commands=[["sh", "-c", "echo broken >&2; exit 3"]])
    assert answer.problem.endswith(": broken")


# cpkit_binaries


class Binaries:
    """A node's folders, and binaries that a controller would have sent."""

    def __init__(self, root: Path) -> None:
        self.root = root / "opt"
        self.cache = root / "cache"
        self.cache.mkdir()
        self.staged: dict[str, str] = {}

    def entry(self, name: str, content: bytes, *, component: str = "etcd", version: str = "3.6.16") -> dict[str, Any]:
        return {
            "component": component,
            "version": version,
            "name": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "cached": f"{component}/{version}/{name}",
        }

    def send(self, entry: dict[str, Any], content: bytes) -> None:
        path = self.cache.parent / f"sent-{entry['sha256'][:8]}"
        path.write_bytes(content)
        self.staged[entry["sha256"]] = str(path)

    def __call__(self, *entries: dict[str, Any], check: bool = False, select: list[str] | None = None) -> Answer:
        arguments = {
            "select": select,
            "binaries": list(entries),
            "node_cache": str(self.cache),
            "staged": self.staged,
            "root": str(self.root),
        }
        return call("cpkit_binaries", arguments, check=check)


@pytest.fixture
def node(tmp_path: Path) -> Binaries:
    return Binaries(tmp_path)


def test_what_neither_the_node_nor_the_controller_has_is_asked_for_and_nothing_is_done(node: Binaries) -> None:
    entry = node.entry("etcd", b"program")
    answer = node(entry)
    assert (answer.changed, answer.values["missing"]) == (False, [entry["sha256"]])
    assert not node.root.exists()


def test_a_binary_is_put_in_place_and_selected_once(node: Binaries) -> None:
    entry = node.entry("etcd", b"program")
    node.send(entry, b"program")
    assert node(entry).changed
    placed = node.root / "etcd/current/etcd"
    assert (placed.read_bytes(), stat.S_IMODE(placed.stat().st_mode)) == (b"program", 0o755)
    assert (node.root / "etcd/current").readlink() == Path("3.6.16")
    assert not Path(node.staged.pop(entry["sha256"])).exists()
    second = node(entry)
    assert (second.changed, second.values["paths"], second.values["missing"]) == (False, [], [])


def test_the_nodes_own_cache_is_used_before_anything_is_sent(node: Binaries) -> None:
    entry = node.entry("etcd", b"program")
    path = node.cache / entry["cached"]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"program")
    assert node(entry).changed
    assert path.exists()


def test_a_binary_with_another_checksum_is_refused_and_not_selected(node: Binaries) -> None:
    old = node.entry("etcd", b"program", version="3.6.15")
    node.send(old, b"program")
    node(old)
    entry = node.entry("etcd", b"program")
    node.staged.clear()
    node.send(entry, b"PROGRAM")
    answer = node(entry)
    assert "its sha256 is not" in answer.problem
    assert not (node.root / "etcd/3.6.16/etcd").exists()
    assert (node.root / "etcd/current").readlink() == Path("3.6.15")
    assert not list(node.root.rglob("tmp*"))


def test_a_binary_that_was_changed_on_the_node_is_found_and_replaced(node: Binaries) -> None:
    entry = node.entry("etcd", b"program")
    node.send(entry, b"program")
    node(entry)
    (node.root / "etcd/3.6.16/etcd").write_bytes(b"PROGRAM")
    node.staged.clear()
    assert node(entry).values["missing"] == [entry["sha256"]]
    node.send(entry, b"program")
    assert node(entry).changed
    assert (node.root / "etcd/3.6.16/etcd").read_bytes() == b"program"


def test_the_same_content_under_two_names_is_one_file(node: Binaries) -> None:
    one = node.entry("kube-apiserver", b"all in one", component="kube-apiserver", version="1.36.3")
    two = node.entry("kubectl", b"all in one", component="kubectl", version="1.36.3")
    node.send(one, b"all in one")
    assert node(one, two).changed
    paths = [node.root / f"{entry['component']}/current/{entry['name']}" for entry in (one, two)]
    assert paths[0].stat().st_ino == paths[1].stat().st_ino
    assert not node(one, two).changed


def test_selecting_another_version_keeps_the_one_before(node: Binaries) -> None:
    old, new = (
        node.entry("etcd", content, version=version) for content, version in ((b"o", "3.6.16"), (b"n", "3.7.3"))
    )
    for entry, content in ((old, b"o"), (new, b"n")):
        node.send(entry, content)
        node(entry)
    assert (node.root / "etcd/current/etcd").read_bytes() == b"n"
    back = node(old)
    assert back.values["paths"] == [f"{node.root}/etcd/current"]
    assert (node.root / "etcd/current/etcd").read_bytes() == b"o"


def test_binaries_are_put_in_place_without_being_selected(node: Binaries) -> None:
    old, new = (
        node.entry("etcd", content, version=version) for content, version in ((b"o", "3.6.16"), (b"n", "3.7.3"))
    )
    tool = node.entry("kubectl", b"tool", component="kubectl", version="1.37.2")
    node.send(old, b"o")
    node(old)
    node.send(new, b"n")
    node.send(tool, b"tool")
    assert node(new, tool, select=[]).changed
    assert (node.root / "etcd/3.7.3/etcd").read_bytes() == b"n"
    assert (node.root / "etcd/current").readlink() == Path("3.6.16")
    assert not (node.root / "kubectl/current").exists()
    assert node(new, tool, select=["kubectl"]).values["paths"] == [f"{node.root}/kubectl/current"]
    assert (node.root / "etcd/current").readlink() == Path("3.6.16")
    assert not node(new, tool, select=["kubectl"]).changed


def test_checking_binaries_changes_nothing(node: Binaries) -> None:
    entry = node.entry("etcd", b"program")
    answer = node(entry, check=True)
    assert answer.changed
    assert not node.root.exists()
    node.send(entry, b"program")
    node(entry)
    node.staged.clear()
    assert not node(entry, check=True).changed


# cpkit_claim


class Claim:
    """A node with a place for the lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "run" / "lock.json"

    def __call__(self, owner: str, *, state: str = "taken", check: bool = False, **more: Any) -> Answer:
        arguments = {
            "state": state,
            "owner": owner,
            "paths": [f"{self.root}/ca.crt", f"{self.root}/missing"],
            "etcd_data_dir": f"{self.root}/etcd",
        }
        constants = {"LOCK": str(self.lock), "API_SERVER": f"{self.root}/kube-apiserver.service"}
        constants["RESTORE"] = str(self.root / "restore.json")
        return call("cpkit_claim", arguments | more, check=check, constants=constants)


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    return Claim(tmp_path)


@pytest.mark.parametrize("stage", ["begun", "quiet", "switched", "started", "aborting", ""])
def test_only_what_belongs_to_a_restore_takes_the_lock_while_one_is_under_way(claim: Claim, stage: str) -> None:
    text = json.dumps({"stage": stage, "backup": "prod-1"}) if stage else "{ rubbish"
    (claim.root / "restore.json").write_text(text)
    for check in (True, False):
        assert "is under way on this node" in claim("alice@one", check=check).values["problem"]
    assert not claim.lock.exists()
    assert claim("alice@one", during_restore=True).values["problem"] == ""
    (claim.root / "restore.json").write_text('{"stage": "done"}')
    assert claim("alice@one").values["problem"] == ""


def test_the_lock_is_taken_by_one_owner_who_may_take_it_again(claim: Claim) -> None:
    assert claim("alice@one").values["problem"] == ""
    taken = claim.lock.read_bytes()
    assert claim("alice@one").values["problem"] == ""
    assert claim.lock.read_bytes() == taken


def test_another_owner_is_told_who_holds_the_lock_and_learns_nothing_else(claim: Claim) -> None:
    (claim.root / "ca.crt").write_text(SECRET)
    claim("alice@one")
    answer = claim("bob@two")
    assert answer.problem == ""  # no_log would hide a failure, so the problem is a value
    assert "locked by alice@one since 20" in answer.values["problem"]
    assert "cpkit unlock" in answer.values["problem"]
    assert answer.values["held"] == {}
    assert json.loads(claim.lock.read_text())["owner"] == "alice@one"


def test_only_the_owner_gives_the_lock_back(claim: Claim) -> None:
    claim("alice@one")
    claim("bob@two", state="released")
    assert claim.lock.exists()
    claim("alice@one", state="released", check=True)
    assert claim.lock.exists()
    claim("alice@one", state="released")
    assert not claim.lock.exists()
    assert claim("bob@two").values["problem"] == ""


def test_a_lock_that_cannot_be_read_is_somebodys(claim: Claim) -> None:
    claim.lock.parent.mkdir()
    claim.lock.write_text("")
    assert "somebody unknown" in claim("alice@one").values["problem"]
    claim("alice@one", state="released")
    assert claim.lock.exists()


@pytest.mark.parametrize(("state", "check"), [("taken", True), ("read", False)])
def test_looking_takes_no_lock_and_heeds_none(claim: Claim, state: str, *, check: bool) -> None:
    (claim.root / "ca.crt").write_text("certificate")
    answer = claim("bob@two", state=state, check=check)
    assert answer.values["held"] == {f"{claim.root}/ca.crt": "certificate"}
    assert not claim.lock.exists()


def folder_instead(root: Path) -> None:
    (root / "pki" / "key").unlink()
    (root / "pki" / "key").mkdir()


SPOILS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "another content": lambda root: (root / "pki" / "key").write_text("other"),
    "no content": lambda root: (root / "pki" / "key").write_text(""),
    "a file's mode": lambda root: (root / "pki" / "key").chmod(0o640),
    "a folder's mode": lambda root: (root / "pki").chmod(0o777),
    "no file": lambda root: (root / "pki" / "key").unlink(),
    "a link to the same": lambda root: (root / "pki" / "key").symlink_to((root / "pki" / "key").rename(root / "k")),
    "a folder instead": folder_instead,
    "another owner": lambda root: os.chown(root / "pki" / "key", 65534, -1),
    "another group": lambda root: os.chown(root / "pki" / "key", -1, 65534),
    "a folder's owner": lambda root: os.chown(root / "pki", 65534, 65534),
    "another link": lambda root: pointing(root / "pki" / "current", "2.0"),
    "a link that is a file": lambda root: written(root / "pki" / "current", "1.0"),
    "no link": lambda root: (root / "pki" / "current").unlink(),
}


def pointing(path: Path, to: str) -> None:
    path.unlink()
    path.symlink_to(to)


def written(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


@as_root
@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("group", [None, grp.getgrgid(os.getgid()).gr_name])
def test_by_what_was_seen_of_a_node_it_is_judged_as_on_the_node(claim: Claim, spoil: str, group: str | None) -> None:
    folder = {"path": f"{claim.root}/pki", "mode": "0700", "owner": ME, "group": group}
    key = {"path": f"{claim.root}/pki/key", "content": "key", "mode": "0600", "owner": ME, "group": group}
    link = {"path": f"{claim.root}/pki/current", "link": "1.0"}
    wanted = {"files": [key, link], "directories": [folder]}
    call("cpkit_files", wanted)
    SPOILS[spoil](claim.root)
    seen = claim("alice@one", paths=[key["path"]], looked_at=[folder["path"], f"{claim.root}/pki/cur*"]).values["seen"]
    on_the_node = call("cpkit_files", wanted, check=True)
    assert lie_as_wanted([key, link], [folder], seen) is not on_the_node.changed
    assert on_the_node.changed is (spoil != "nothing")


def test_of_binaries_those_are_told_that_are_as_they_were_when_verified(claim: Claim) -> None:
    root = claim.root / "opt"
    paths = [root / "etcd" / "3.6.16" / name for name in ("etcd", "etcdctl", "gone")]
    paths[0].parent.mkdir(parents=True)
    record = {}
    for path in paths:
        path.write_text(path.name)
        status = path.stat()
        record[str(path)] = [f"of {path.name}", status.st_ino, status.st_size, status.st_mtime_ns]
    (root / "verified.json").write_text(json.dumps(record))
    (root / "etcd" / "current").symlink_to("3.6.16")
    paths[1].write_text("other")
    paths[2].unlink()
    told = claim("alice@one", binaries=str(root)).values
    assert told["verified"] == {str(paths[0]): "of etcd"}
    assert told["selected"] == {"etcd": "3.6.16"}


def test_two_owners_at_once_and_one_of_them_gets_the_lock(claim: Claim) -> None:
    answers: dict[str, str] = {}

    def take(owner: str) -> None:
        answers[owner] = str(claim(owner).values["problem"])

    threads = [threading.Thread(target=take, args=(owner,)) for owner in ("alice@one", "bob@two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [owner for owner, problem in answers.items() if not problem]
    assert json.loads(claim.lock.read_text())["owner"] == winner


def test_etcd_has_started_once_it_has_a_log_and_not_before(claim: Claim) -> None:
    wal = claim.root / "etcd/member/wal"
    wal.mkdir(parents=True)
    answer = claim("alice@one")
    assert (answer.values["started"], answer.values["established"]) == (False, False)
    (wal / "0000000000000000-0000000000000000.wal").touch()
    (claim.root / "kube-apiserver.service").touch()
    answer = claim("alice@one")
    assert (answer.values["started"], answer.values["established"]) == (True, True)


# cpkit_files with keep, and cpkit_kept


def replace_files(tmp_path: Path, text: str, **more: Any) -> Answer:
    entries = (
        {"path": f"{tmp_path}/pki/{name}", "content": f"{name} {text}", "secret": True} for name in ("crt", "key")
    )
    return files(*entries, keep=f"{tmp_path}/kept", **more)


def kept(tmp_path: Path, state: str, **more: Any) -> Answer:
    return call("cpkit_kept", {"path": f"{tmp_path}/kept", "state": state}, **more)


def test_a_change_is_taken_back_to_the_byte_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    files(
        {"path": f"{tmp_path}/pki/crt", "content": "crt", "mode": "0640"},
        {"path": f"{tmp_path}/pki/key", "content": "k"},
    )
    before = tree(tmp_path / "pki")
    assert replace_files(tmp_path, "new").changed
    assert tree(tmp_path / "pki") != before
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    answer = kept(tmp_path, "restored")
    assert answer.changed
    assert answer.values["paths"] == [f"{tmp_path}/pki/crt", f"{tmp_path}/pki/key"]
    assert tree(tmp_path) == {f"pki/{name}": value for name, value in before.items()}
    assert not kept(tmp_path, "restored").changed


def test_what_was_kept_first_is_what_comes_back(tmp_path: Path) -> None:
    replace_files(tmp_path, "first")
    replace_files(tmp_path, "second")
    replace_files(tmp_path, "third")
    kept(tmp_path, "restored")
    assert (tmp_path / "pki/crt").read_text() == "crt first"


def test_a_copy_that_was_cut_off_is_not_taken_for_what_was_kept(tmp_path: Path) -> None:
    replace_files(tmp_path, "first")
    folder = tmp_path / "kept" / str(tmp_path).lstrip("/") / "pki"
    folder.mkdir(parents=True)
    (folder / ".crt.new").write_text("cr")
    replace_files(tmp_path, "second")
    kept(tmp_path, "restored")
    assert (tmp_path / "pki/crt").read_text() == "crt first"


def test_files_that_do_not_change_are_not_kept(tmp_path: Path) -> None:
    assert replace_files(tmp_path, "same").changed
    assert not replace_files(tmp_path, "same").changed
    assert not (tmp_path / "kept").exists()


def test_letting_go_removes_what_was_kept_and_leaves_the_new_files(tmp_path: Path) -> None:
    replace_files(tmp_path, "first")
    replace_files(tmp_path, "second")
    after = tree(tmp_path / "pki")
    assert kept(tmp_path, "forgotten").changed
    assert tree(tmp_path) == {f"pki/{name}": value for name, value in after.items()}
    assert not kept(tmp_path, "forgotten").changed


@pytest.mark.parametrize("state", ["restored", "forgotten"])
def test_checking_neither_takes_back_nor_lets_go(tmp_path: Path, state: str) -> None:
    replace_files(tmp_path, "first")
    replace_files(tmp_path, "second")
    before = tree(tmp_path)
    answer = kept(tmp_path, state, check=True)
    assert answer.changed
    assert tree(tmp_path) == before
    assert "crt first" not in answer.text
