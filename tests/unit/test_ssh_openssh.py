"""The configuration that OpenSSH's client is given, instead of the user's."""

from pathlib import Path

from cpkit.ssh.openssh import EVERYWHERE, configuration
from cpkit.ssh.route import Hop

NODE = Hop("10.0.0.11", 22, "admin", (Path("/keys/lab"),), key_named=True, known_hosts=(Path("/a b/known"),))
JUMP = Hop(
    "bastion", 2222, "operator", (Path("/k%h"), Path("/k2")), key_named=False, known_hosts=(Path("/x"), Path("/y"))
)


def test_a_named_key_is_the_only_one_and_only_pinned_hosts_are_known() -> None:
    assert configuration([NODE]) == (
        "Host cpkit-hop-0\n"
        "  HostName 10.0.0.11\n"
        "  Port 22\n"
        '  User "admin"\n'
        '  UserKnownHostsFile "/a b/known"\n'
        '  IdentityFile "/keys/lab"\n'
        "  IdentitiesOnly yes\n" + EVERYWHERE
    )
    assert "StrictHostKeyChecking yes" in EVERYWHERE
    assert "GlobalKnownHostsFile /dev/null" in EVERYWHERE


def test_each_hop_is_reached_through_the_one_before_it_and_nothing_is_filled_in() -> None:
    text = configuration([JUMP, NODE])
    first, second = text.split("Host cpkit-hop-1\n")
    assert "ProxyJump" not in first
    assert '  UserKnownHostsFile "/x" "/y"\n  IdentityFile "/k%%h"\n  IdentityFile "/k2"\n' in first
    assert "IdentitiesOnly" not in first
    assert "  ProxyJump cpkit-hop-0\n" in second
