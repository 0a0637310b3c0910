from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cpkit.errors import UsageError
from cpkit.inventory import SshTarget
from cpkit.ssh.route import read_config, route

Config = dict[str, Mapping[str, Any]]


@pytest.fixture(autouse=True)
def _known_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "operator")


def told(**hosts: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any]]:
    return lambda host: hosts.get(host, {})


def test_the_inventory_says_it_all() -> None:
    target = SshTarget(
        "10.0.0.1", port=2222, user="admin", key_file=Path("~/key"), known_hosts=Path("/inventory/known_hosts")
    )
    (hop,) = route(target, told())
    assert (hop.host, hop.port, hop.user, hop.key_named) == ("10.0.0.1", 2222, "admin", True)
    assert hop.key_files == (Path.home() / "key",)
    assert hop.known_hosts[0] == Path("/inventory/known_hosts")


def test_the_configuration_fills_the_gaps_and_overrules_nothing() -> None:
    lookup = told(cp1={"hostname": "10.0.0.1", "port": "2200", "user": "configured", "identityfile": ["/k1", "/k2"]})
    (filled,) = route(SshTarget("cp1", user=""), lookup)
    assert (filled.host, filled.port, filled.user) == ("10.0.0.1", 2200, "configured")
    assert filled.key_files == (Path("/k1"), Path("/k2"))
    assert not filled.key_named

    (said,) = route(SshTarget("cp1", user="admin", port=2222, key_file=Path("/mine")), lookup)
    assert (said.port, said.user, said.key_files) == (2222, "admin", (Path("/mine"),))


def test_nobody_says_the_user() -> None:
    (hop,) = route(SshTarget("cp1", user=""), told())
    assert hop.user == "operator"


@pytest.mark.parametrize(
    ("jump", "hops"),
    [
        ("bastion", ["operator@bastion:22"]),
        ("me@bastion:2222", ["me@bastion:2222"]),
        ("ssh://me@bastion:2222", ["me@bastion:2222"]),
        ("[fd00::1]:2222", ["operator@fd00::1:2222"]),
        ("one, two@two:2", ["operator@one:22", "two@two:2"]),
        ("none", []),
        ("", []),
    ],
)
def test_jumps_are_hops_before_the_node(jump: str, hops: list[str]) -> None:
    found = route(SshTarget("cp1", proxy_jump=jump), told())
    assert [f"{hop.user}@{hop}" for hop in found[:-1]] == hops
    assert found[-1].host == "cp1"


def test_a_jump_in_the_configuration_leads_through_its_own() -> None:
    lookup = told(
        cp1={"proxyjump": "inner"},
        inner={"hostname": "10.0.0.9", "user": "jumper", "proxyjump": "outer"},
        outer={"port": "2222"},
    )
    found = route(SshTarget("cp1"), lookup)
    assert [str(hop) for hop in found] == ["outer:2222", "10.0.0.9:22", "cp1:22"]
    assert [hop.user for hop in found] == ["operator", "jumper", "root"]
    # Only the first of a written chain is reached as its configuration says.
    written = route(SshTarget("cp1", proxy_jump="outer,inner"), lookup)
    assert [hop.host for hop in written] == ["outer", "10.0.0.9", "cp1"]


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        (SshTarget("cp1", proxy_jump="a b@:x"), "is not"),
        (SshTarget("loop"), "does it lead to itself"),
        (SshTarget("proxied"), "ProxyCommand, which is not supported"),
    ],
)
def test_refuses_ways_it_cannot_go(target: SshTarget, complaint: str) -> None:
    lookup = told(loop={"proxyjump": "loop"}, proxied={"proxycommand": "nc %h %p"})
    with pytest.raises(UsageError, match=complaint):
        route(target, lookup)


def test_a_configuration_that_cannot_be_parsed_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config"
    assert read_config(config)("cp1") == {}
    config.write_text("Host cp1\n  HostName 10.0.0.1\n")
    assert read_config(config)("cp1")["hostname"] == "10.0.0.1"
    config.write_text("nonsense\n")
    with pytest.raises(UsageError, match="config cannot be read"):
        read_config(config)
