"""What a lab keeps on disk: keys that stay and stay private, variables that a user may edit, networks apart."""

import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from cpkit.errors import CpkitError, UsageError
from cpkit.lab import store
from cpkit.lab.faults import target
from cpkit.lab.layout import Layout, Sizes, grown, new_layout
from cpkit.lab.ssh_command import ssh_command

LAYOUT = new_layout("t", 7, Sizes(control_plane=1, balancers=1))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_a_lab_is_read_back_as_it_was_saved() -> None:
    store.save(LAYOUT, new_variables=False)
    assert store.load_layout("t") == LAYOUT
    assert store.lab_names() == ("t",)
    assert store.load_layout("other") is None


def test_private_keys_are_private_and_survive_another_save() -> None:
    store.save(LAYOUT, new_variables=False)
    keys = [store.lab_dir("t") / store.KEY_NAME, store.node_dir("t", "cp1") / "ssh_host_ed25519_key"]
    before = [key.read_bytes() for key in keys]
    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o600, 0o600]
    assert before[0] != before[1]
    store.save(grown(LAYOUT, Sizes(control_plane=3)), new_variables=False)
    assert [key.read_bytes() for key in keys] == before


def test_pinned_host_keys_are_those_of_the_machines() -> None:
    store.save(LAYOUT, new_variables=False)
    lines = (store.inventory_dir("t") / "known_hosts").read_text().splitlines()
    assert len(lines) == len(LAYOUT.machines)
    for machine, line in zip(LAYOUT.machines, lines, strict=True):
        key = load_ssh_private_key((store.node_dir("t", machine.name) / "ssh_host_ed25519_key").read_bytes(), None)
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        assert line == f"{machine.address} {public}"


def test_variables_a_user_edited_stay_until_new_ones_are_asked_for() -> None:
    store.save(LAYOUT, new_variables=False)
    variables = store.inventory_dir("t") / "group_vars" / "all.yml"
    variables.write_text("cluster_name: mine\n")
    store.save(LAYOUT, new_variables=False)
    assert variables.read_text() == "cluster_name: mine\n"
    store.save(LAYOUT, new_variables=True)
    assert "cluster_name: t\n" in variables.read_text()


def test_nothing_stays_of_a_forgotten_lab(state: Path) -> None:
    store.save(LAYOUT, new_variables=False)
    store.forget("t")
    store.forget("t")
    assert not [path for path in state.rglob("*") if path.is_file()]


def test_a_damaged_state_file_is_named() -> None:
    store.save(LAYOUT, new_variables=False)
    path = store.lab_dir("t") / "lab.json"
    path.write_text(json.dumps({"name": "t", "surprise": 1}))
    with pytest.raises(CpkitError, match=r"lab\.json cannot be read"):
        store.load_layout("t")


def test_labs_get_networks_of_their_own() -> None:
    assert store.free_number("lab") == 0
    assert store.free_number("lab5") == 5
    numbers = []
    for name in ("a", "b", "c", "d", "e"):
        numbers.append(store.free_number(name))
        store.save(new_layout(name, numbers[-1], Sizes(control_plane=1, balancers=0)), new_variables=False)
    assert len(set(numbers)) == len(numbers)
    assert not {0, 5} & set(numbers)


def test_networks_the_host_routes_elsewhere_are_seen() -> None:
    table = (
        "Iface\tDestination\tGateway\tFlags\n"
        "eth0\t00000000\t010200C0\t0003\n"
        "podman1\t0003CB0A\t00000000\t0001\n"
        "other\t0003CC0A\t00000000\t0001\n"
    )
    assert store.routed_numbers(table) == {3}


def test_paths_are_written_as_their_user_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert store.under_home(Path("/home/ann/.local/state/x")) == "~/.local/state/x"
    assert store.under_home(Path("/home/anna/x")) == "/home/anna/x"


def test_a_target_names_a_machine_and_perhaps_a_lab() -> None:
    store.save(LAYOUT, new_variables=False)
    store.save(Layout("lab", 0), new_variables=False)
    assert target("cp3")[1].address == "10.203.0.13"
    assert target("t/lb1")[1].address == "10.203.7.21"
    with pytest.raises(UsageError, match="no node 'cp3'"):
        target("t/cp3")
    with pytest.raises(UsageError, match="no lab 'x'") as caught:
        target("x/cp1")
    assert "lab, t" in caught.value.hint


def test_ssh_trusts_nothing_but_the_pinned_key() -> None:
    argv = ssh_command(LAYOUT, LAYOUT.machine("cp1"), [])
    assert "StrictHostKeyChecking=yes" in argv
    assert f"UserKnownHostsFile={store.inventory_dir('t') / 'known_hosts'}" in argv
    assert argv[-1] == "admin@10.203.7.11"


@pytest.mark.parametrize(
    ("command", "line"),
    [(["echo $HOME | cat"], "echo $HOME | cat"), (["echo", "a b", "$c"], "echo 'a b' '$c'")],
)
def test_a_single_word_is_a_line_for_the_shell_and_several_are_quoted(command: list[str], line: str) -> None:
    assert ssh_command(LAYOUT, LAYOUT.machine("cp1"), command)[-1] == line
