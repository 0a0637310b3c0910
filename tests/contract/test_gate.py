"""A play asks the gate: of the cpkit that runs it, or of one of its own, and is told the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cpkit import ansible
from cpkit.errors import Exit
from cpkit.operations.answering import answering
from cpkit.paths import ansible_root

NODES = ("cp1", "cp2", "cp3")
ASKING = """
- hosts: control_plane
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: gate}
"""
INVENTORY = """
control_plane:
  vars: {ansible_port: 1, cluster_name: asked, cluster_endpoint: 192.0.2.100}
  hosts: {cp1: {ansible_host: 127.0.0.11}, cp2: {ansible_host: 127.0.0.12}, cp3: {ansible_host: 127.0.0.13}}
"""


@pytest.fixture
def play(tmp_path: Path) -> ansible.Play:
    """One that asks of three nodes at once whether each may be taken down; none can be reached."""
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    (tmp_path / "known_hosts").touch()
    (tmp_path / "ask.yml").write_text(ASKING)
    return ansible.Play(str(tmp_path / "ask.yml"), tmp_path, variables={"gate_wait": 0})


def asked(play: ansible.Play, descriptor: int, keep_open: tuple[int, ...]) -> dict[str, str]:
    """Node -> what its task was told."""
    given = ansible.Play(play.playbook, play.inventory, variables={**play.variables, "gate_descriptor": descriptor})
    outcome = ansible.run(given, log=play.inventory / "log", on_event=lambda _: None, keep_open=keep_open)
    return {str(event["host"]): str(event["message"]) for event in outcome.failures}


def test_each_node_is_told_its_own_answer_and_the_same_by_both(play: ansible.Play) -> None:
    by_itself = asked(play, -1, ())
    with answering(play) as descriptor:
        told = asked(play, descriptor, (descriptor,))
    assert told.keys() == by_itself.keys() == set(NODES)
    for node in NODES:
        assert told[node].startswith(f"{node} must stay up\n")
        assert told[node] == by_itself[node]


def test_what_cannot_be_answered_is_told(play: ansible.Play) -> None:
    play = ansible.Play(play.playbook, play.inventory, variables={**play.variables, "gate_despite": ["no.such"]})
    with answering(play) as descriptor:
        told = asked(play, descriptor, (descriptor,))
    assert set(told.values()) == {"there is no check called 'no.such'"}


def test_a_play_whose_cpkit_has_ended_is_not_let_through(play: ansible.Play) -> None:
    with answering(play) as descriptor:
        kept = os.dup(descriptor)
    try:
        told = asked(play, kept, (kept,))
    finally:
        os.close(kept)
    assert told.keys() == set(NODES)
    assert set(told.values()) == {"cpkit ended before it answered."}


def test_the_same_is_told_to_who_asks_by_hand(play: ansible.Play) -> None:
    command = [sys.executable, "-m", "cpkit", "gate", "before", "-i", str(play.inventory), "-n", "cp1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ansible_root(), check=False)
    assert done.returncode == Exit.UNKNOWN
    assert done.stdout.startswith("cp1 must stay up\n")
