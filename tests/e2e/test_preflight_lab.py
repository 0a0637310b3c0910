"""Preflight against real machines: all well, and then everything that may be wrong, one at a time."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cpkit.health.preflight import CHECKS
from tests.e2e.raised import LabFactory, RaisedLab, run_cpkit

VIP = "$VIP"
SERVE = "systemd-run --quiet --unit=squatter python3 -m http.server"
END_SERVING = "systemctl stop squatter"


@pytest.fixture(scope="module")
def lab(make_lab: LabFactory) -> RaisedLab:
    return make_lab(nodes=3, balancers=2, spare=1)


@dataclass(frozen=True)
class Seen:
    """What `cpkit preflight -o json` ended with."""

    rc: int
    report: dict[str, Any]

    @property
    def troubles(self) -> list[tuple[str, str, str]]:
        # How fast this disk is says something about the machine of the tests, and nothing about preflight.
        slow_disk = ("etcd.fsync", "warn")
        found = (f for f in self.report["findings"] if f["level"] != "ok" and (f["check"], f["level"]) != slow_disk)
        return [(f["check"], f["node"], f["level"]) for f in found]

    @property
    def text(self) -> str:
        return "\n".join(f"{f['text']}\n{f['hint']}" for f in self.report["findings"] if f["level"] != "ok")


def preflight(inventory: Path, *words: str) -> Seen:
    done = run_cpkit("preflight", "-i", str(inventory), "-o", "json", *words)
    assert done.stdout, done.stderr
    assert "Traceback" not in done.stderr
    return Seen(done.returncode, json.loads(done.stdout))


@contextmanager
def broken(lab: RaisedLab, node: str, wreck: str, mend: str) -> Iterator[None]:
    vip = re.search(r"cluster_endpoint: ([\d.]+)", (lab.inventory / "group_vars/all.yml").read_text())
    assert vip
    try:
        lab.on(node, wreck.replace(VIP, vip[1]))
        yield
    finally:
        lab.on(node, mend.replace(VIP, vip[1]))


def test_fresh_machines_pass_within_the_bound_and_keep_no_trace(lab: RaisedLab) -> None:
    look = "ls -A /opt /var/lib /etc /tmp; ss -Hltn | wc -l"
    before = lab.on("cp1", look)
    seen = preflight(lab.inventory)
    assert seen.troubles == []
    assert seen.rc == 0
    assert seen.report["seconds"] <= 15
    assert seen.report["not_checked"] == []
    assert {finding["check"] for finding in seen.report["findings"]} == set(CHECKS)
    assert lab.on("cp1", look) == before


FAULTS = [
    # node, what breaks it, what mends it, (check, node, level), a word of the text
    ("cp1", f"{SERVE} 6443", END_SERVING, ("ports.free", "cp1", "fail"), "squatter.service"),
    ("lb1", f"{SERVE} 8404", END_SERVING, ("ports.free", "lb1", "fail"), "port 8404"),
    (
        "cp1",
        f"ip a add {VIP}/32 dev eth0",
        f"ip a del {VIP}/32 dev eth0",
        ("vip.unused", "cp1", "fail"),
        "ip address del",
    ),
    ("sp1", f"ip a add {VIP}/24 dev eth0", f"ip a del {VIP}/24 dev eth0", ("vip.unused", "", "fail"), "outside this"),
    ("cp2", "mkdir -p /var/lib/etcd/member", "rm -r /var/lib/etcd", ("leftovers", "cp2", "fail"), "/var/lib/etcd.old"),
    (
        "cp2",
        'mkdir /etc/cpkit; echo \'{"name": "other"}\' > /etc/cpkit/cluster.json',
        "rm -r /etc/cpkit",
        ("leftovers", "cp2", "fail"),
        "belongs to the cluster other",
    ),
    (
        "cp3",
        "mkdir -p /var/lib/etcd && mount -t tmpfs -o size=1m tmpfs /var/lib/etcd",
        "umount /var/lib/etcd && rmdir /var/lib/etcd",
        ("disk.etcd", "cp3", "fail"),
        "No space left",
    ),
    (
        "cp2",
        "mv /usr/bin/python3 /usr/bin/3nohtyp",
        "mv /usr/bin/3nohtyp /usr/bin/python3",
        ("python3", "cp2", "fail"),
        "apt",
    ),
    (
        "cp1",
        "systemd-run --quiet --unit=k3s sleep 600",
        "systemctl stop k3s",
        ("leftovers", "cp1", "fail"),
        "k3s is running",
    ),
]


@pytest.mark.parametrize(("node", "wreck", "mend", "told", "word"), FAULTS, ids=[fault[4] for fault in FAULTS])
def test_one_thing_wrong(
    lab: RaisedLab, node: str, wreck: str, mend: str, told: tuple[str, str, str], word: str
) -> None:
    with broken(lab, node, wreck, mend):
        seen = preflight(lab.inventory)
    assert told in seen.troubles
    assert word in seen.text
    assert seen.rc == 3


@pytest.mark.parametrize(("verdict", "why"), [("drop", "no answer"), ("reject with tcp reset", "refused")])
def test_a_firewall_between_two_nodes_is_named_in_time(lab: RaisedLab, verdict: str, why: str) -> None:
    rules = (
        "nft add table inet wall; nft 'add chain inet wall in { type filter hook input priority 0; }'; "
        f"nft add rule inet wall in ip saddr {lab.address('cp1')} tcp dport 2380 {verdict}"
    )
    with broken(lab, "cp2", rules, "nft delete table inet wall"):
        seen = preflight(lab.inventory)
    assert seen.troubles == [("ports.reachable", "cp2", "fail")]
    assert f"cp1 cannot reach cp2:2380 ({why})" in seen.text
    assert seen.report["seconds"] <= 15


def test_a_node_that_is_off_is_unknown_and_the_others_are_checked(lab: RaisedLab) -> None:
    lab.do("stop", "cp2")
    try:
        seen = preflight(lab.inventory)
    finally:
        lab.do("start", "cp2")
    assert seen.troubles == [("ssh.reach", "cp2", "unknown")]
    assert seen.rc == 4
    assert seen.report["seconds"] <= 15


def test_an_ignored_failure_does_not_stand_in_the_way(lab: RaisedLab) -> None:
    with broken(lab, "cp2", "mkdir -p /var/lib/etcd/member", "rm -r /var/lib/etcd"):
        assert preflight(lab.inventory, "--ignore", "cpu,leftovers").rc == 0
    refused = run_cpkit("preflight", "-i", str(lab.inventory), "--ignore", "leftover")
    assert refused.returncode == 2
    assert "Did you mean leftovers?" in refused.stderr


@pytest.fixture
def copied(lab: RaisedLab, tmp_path: Path) -> Path:
    """The lab's inventory, to be spoilt; its known_hosts is the copy's."""
    inventory: Path = tmp_path / lab.name
    shutil.copytree(lab.inventory, inventory)
    variables = inventory / "group_vars/all.yml"
    pinned = re.sub(r"UserKnownHostsFile=\S+", f"UserKnownHostsFile={inventory / 'known_hosts'}", variables.read_text())
    variables.write_text(pinned)
    return inventory


def new_key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=20)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def test_a_key_that_is_not_let_in(copied: Path, tmp_path: Path) -> None:
    new_key(tmp_path / "wrong")
    variables = copied / "group_vars/all.yml"
    key = f"ansible_ssh_private_key_file: {tmp_path / 'wrong'}"
    variables.write_text(re.sub(r"ansible_ssh_private_key_file: .*", key, variables.read_text()))
    seen = preflight(copied)
    assert set(seen.troubles) == {("ssh.login", node, "unknown") for node in ("cp1", "cp2", "cp3", "lb1", "lb2")}
    assert seen.rc == 4
    assert "ssh-copy-id" in seen.text


@pytest.mark.parametrize(("changed", "word"), [(False, "ssh-keyscan"), (True, "ssh-keygen -R")])
def test_a_host_key_that_is_not_the_pinned_one(lab: RaisedLab, copied: Path, changed: bool, word: str) -> None:
    pinned = copied / "known_hosts"
    others = [line for line in pinned.read_text().splitlines() if not line.startswith(f"{lab.address('cp3')} ")]
    forged = [f"{lab.address('cp3')} {new_key(copied / 'other')}"] if changed else []
    pinned.write_text("\n".join([*others, *forged]) + "\n")
    seen = preflight(copied)
    assert seen.troubles == [("ssh.host-key", "cp3", "unknown")]
    assert word in seen.text
    assert seen.rc == 4


@pytest.mark.parametrize(
    ("password", "told"),
    [
        ("", [("become-password", "cp1", "fail")]),
        ("wrong", [("become-password", "cp1", "fail")]),
        ("sesame", []),
    ],
)
def test_sudo_with_a_password(lab: RaisedLab, copied: Path, password: str, told: list[tuple[str, str, str]]) -> None:
    if password:
        with (copied / "group_vars/all.yml").open("a") as variables:
            variables.write(f"ansible_become_password: {password}\n")
    # The rule that sorts last wins.
    lab.on("cp1", "echo admin:sesame | chpasswd; echo 'admin ALL=(ALL:ALL) PASSWD: ALL' > /etc/sudoers.d/zz-test")
    try:
        seen = preflight(copied)
    finally:
        mend = "echo sesame | sudo -S rm /etc/sudoers.d/zz-test"
        assert run_cpkit("lab", "ssh", f"{lab.name}/cp1", "--", mend).returncode == 0
    assert seen.troubles == told
    assert seen.rc == (3 if told else 0)
    assert "sesame" not in json.dumps(seen.report)
