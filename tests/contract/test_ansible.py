"""Real ansible-playbook runs on local connections: what is told, what is kept secret, and where a play stops."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cpkit import ansible
from cpkit.ansible import Event, Outcome, Play
from cpkit.ansible.outcome import UNREACHABLE
from cpkit.errors import CpkitError, Exit

SECRET = "never-to-be-seen-42"
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@dataclass
class Ran:
    """A play that was run."""

    outcome: Outcome
    events: list[Event]
    log: str

    def states(self, task: str) -> dict[str, str]:
        """Host -> how a task went there."""
        return {event["host"]: event["state"] for event in self.events if event.get("task") == task}


@dataclass
class Runner:
    """Runs plays in a folder of its own."""

    root: Path
    seen: list[Event] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.root / "ansible.log"

    def play(self, text: str, *, hosts: str = "a b c", **options: Any) -> Play:
        """A playbook, and an inventory with a group `nodes` of local hosts."""
        (self.root / "play.yml").write_text(text)
        lines = [
            "[nodes]",
            *hosts.replace(" ", "\n").splitlines(),
            "[nodes:vars]",
            "ansible_connection=local",
            f"ansible_python_interpreter={sys.executable}",
        ]
        (self.root / "hosts").write_text("\n".join(lines) + "\n")
        return Play(str(self.root / "play.yml"), self.root / "hosts", **options)

    def __call__(self, play: Play, on_event: Callable[[Event], None] = lambda _: None) -> Ran:
        def listen(event: Event) -> None:
            self.seen.append(event)
            on_event(event)

        outcome = ansible.run(play, log=self.log, on_event=listen)
        return Ran(outcome, self.seen, self.log.read_text())


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def descendants(pid: int) -> Iterator[int]:
    """The living processes below one, itself left out."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child)
        try:
            yield from descendants(int(child))
        except FileNotFoundError:
            continue


# What is told.


def test_every_task_is_told_as_it_happens_and_summed_at_the_end(run: Runner) -> None:
    told_while_running: list[bool] = []
    marker = run.root / "finished"

    def on_event(event: Event) -> None:
        if event.get("task") == "Look":
            told_while_running.append(not marker.exists())

    ran = run(
        run.play(
            f"""
- name: First
  hosts: nodes
  tasks:
    - {{name: Look, ansible.builtin.command: "true", changed_when: false}}
    - {{name: Change, ansible.builtin.command: "true"}}
    - {{name: Not here, ansible.builtin.command: "true", when: inventory_hostname == 'a'}}
    - {{name: Finish, ansible.builtin.command: touch {marker}, changed_when: false}}
""",
            hosts="a b",
        ),
        on_event,
    )
    assert [event["name"] for event in ran.events if event["event"] == "play"] == ["First"]
    assert [event["name"] for event in ran.events if event["event"] == "task"] == [
        "Look",
        "Change",
        "Not here",
        "Finish",
    ]
    assert ran.states("Look") == {"a": "ok", "b": "ok"}
    assert ran.states("Change") == {"a": "changed", "b": "changed"}
    assert ran.states("Not here") == {"a": "changed", "b": "skipped"}
    assert told_while_running == [True, True]
    assert ran.events[-1] == {"event": "exit", "code": 0}
    assert (ran.outcome.code, ran.outcome.changed, ran.outcome.failures) == (0, 3, ())
    assert ran.outcome.hosts["b"]["skipped"] == 1
    assert "PLAY RECAP" in ran.log


def test_a_failure_names_the_task_the_host_and_the_reason(run: Runner) -> None:
    ran = run(
        run.play("""
- hosts: nodes
  tasks:
    - name: Break
      ansible.builtin.fail: {msg: the disk is full}
      when: inventory_hostname != 'b'
""")
    )
    error = ansible.failure(ran.outcome)
    assert ran.outcome.code == 2
    assert (error.node, error.message) == ("a", "Break: the disk is full (also on c)")
    assert error.code == Exit.FAILED


def test_an_unreachable_host_is_unknown_and_not_failed(run: Runner) -> None:
    play = run.play("- {hosts: nodes, tasks: [{name: Look, ansible.builtin.ping: }]}", hosts="a b")
    with play.inventory.open("a") as inventory:
        inventory.write("[nodes]\nb ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n")
    ran = run(play)
    assert ran.outcome.code == UNREACHABLE
    assert ran.states("Look") == {"a": "ok", "b": "unreachable"}
    error = ansible.failure(ran.outcome)
    assert (error.code, error.node) == (Exit.UNKNOWN, "b")
    assert "refused" in error.message


@pytest.mark.parametrize("broken", ["- hosts: [", "- {hosts: nodes, rolls: []}", "- {hosts: nodes, roles: [nowhere]}"])
def test_a_playbook_that_cannot_run_is_an_error_with_its_reason(run: Runner, broken: str) -> None:
    with pytest.raises(CpkitError, match=r"^ansible-playbook ended with \d: .+") as error:
        run(run.play(broken))
    assert str(run.log) in error.value.hint


def test_without_cpkit_the_callback_is_silent_and_the_equivalent_line_works(run: Runner) -> None:
    play = run.play(
        "- {hosts: nodes, tasks: [{name: Look, ansible.builtin.debug: {msg: '{{ word }}'}}]}",
        hosts="a",
        variables={"word": "two words & more"},
        check=True,
        diff=True,
        limit="a",
    )
    done = subprocess.run(
        ["sh", "-c", ansible.equivalent(play)],
        env=os.environ | {"PATH": PATH},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "two words & more" in done.stdout
    assert '"event"' not in done.stdout + done.stderr


def playing(root: Path) -> list[str]:
    """The processes that have this folder in their command line: Ansible, its workers and what they run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if any(str(root) in word for word in words):
                found.append(f"{path.parent.name}: {' '.join(words)}")
    return found


@pytest.mark.parametrize("moment", [0, 0.02, 0.05, 0.1, 0.3])  # about when workers are forked, and leave the group
def test_a_reader_that_goes_away_ends_the_play(run: Runner, moment: float) -> None:
    def on_event(event: Event) -> None:
        if event["event"] == "task":
            time.sleep(moment)
            assert playing(run.root)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(run.play(f"- {{hosts: nodes, tasks: [{{name: Hang, shell: sleep 60 || true {run.root}}}]}}"), on_event)
    deadline = time.monotonic() + 20
    while left := playing(run.root):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_a_play_that_is_loaded_does_nothing_before_it_is_run(run: Runner) -> None:
    play = run.play(f"- {{hosts: a, tasks: [{{name: Change, ansible.builtin.command: touch {run.root}/changed}}]}}")
    with ansible.loaded(play, log=run.log) as ready:
        waits_for_a_line(ready.process.pid)
        assert not (run.root / "changed").exists()
        outcome = ready.run(run.seen.append)
    assert (outcome.code, outcome.changed, (run.root / "changed").exists()) == (0, 1, True)
    assert [event["event"] for event in run.seen] == ["play", "task", "host", "stats", "exit"]


@pytest.mark.parametrize("when", ["loading", "loaded"])
def test_a_play_that_is_never_run_ends_and_has_done_nothing(run: Runner, when: str) -> None:
    play = run.play(f"- {{hosts: a, tasks: [{{name: Change, ansible.builtin.command: touch {run.root}/changed}}]}}")
    with ansible.loaded(play, log=run.log) as ready:
        if when == "loaded":
            waits_for_a_line(ready.process.pid)
    assert ready.process.returncode
    assert not (run.root / "changed").exists()
    assert not playing(run.root)


def test_a_loaded_play_ends_when_nobody_can_begin_it_any_more(run: Runner) -> None:
    with ansible.loaded(run.play("- {hosts: a, tasks: []}"), log=run.log) as ready:
        waits_for_a_line(ready.process.pid)
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), ready.begin)  # as when cpkit was killed
        assert ready.process.wait(timeout=20) == 1


def waits_for_a_line(pid: int, seconds: float = 60) -> None:
    """Until the process sleeps in the kernel, reading a pipe."""
    deadline = time.monotonic() + seconds
    while "pipe" not in Path(f"/proc/{pid}/wchan").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# What is kept secret.


@pytest.mark.parametrize("fails", [True, False])
def test_a_task_with_no_log_shows_nothing_of_its_values(run: Runner, *, fails: bool) -> None:
    ran = run(
        run.play(
            f"""
- hosts: nodes
  tasks:
    - name: Handle a key
      ansible.builtin.command: sh -c 'echo $0 >&2; exit {int(fails)}' {{{{ secret }}}}
      no_log: true
""",
            hosts=f"a\tsecret={SECRET}",  # not in the playbook: Ansible quotes the lines of a task that failed
            diff=True,
        )
    )
    assert ran.states("Handle a key") == {"a": "failed" if fails else "changed"}
    assert SECRET not in repr(ran.events)
    assert SECRET not in ran.log


def test_a_secret_file_shows_no_content_in_a_diff_and_a_public_one_does(run: Runner) -> None:
    owner = Path("/proc/self").owner()
    entry = f"mode: '0600', owner: {owner}"
    text = f"""
- hosts: nodes
  tasks:
    - name: Lay down
      cpkit_files:
        files:
          - {{path: {run.root}/key, content: "{SECRET}", secret: true, {entry}}}
          - {{path: {run.root}/open, content: "in the open", {entry}}}
"""
    for check in (True, False):
        ran = run(run.play(text, hosts="a", check=check, diff=True))
        diffs = [event["diff"] for event in ran.events if event.get("diff")][-1]
        assert [diff["after"] for diff in diffs] == ["(secret, changed)\n", "in the open"]
        assert (run.root / "key").exists() is not check
    assert SECRET not in repr(ran.events)
    assert SECRET not in ran.log


FAKE_SUDO = """#!/usr/bin/env python3
import os, pathlib, sys
arguments = sys.argv[1:]
sys.stderr.write(arguments[arguments.index("-p") + 1]) if "-p" in arguments else None
sys.stderr.flush()
line = b""
while not line.endswith(b"\\n"):
    line += os.read(0, 1) or b"\\n"
pathlib.Path(__file__).with_name("received").write_bytes(line)
command = arguments[arguments.index("-u") + 2:]
os.execvp(command[0], command)
"""


def test_the_become_password_reaches_sudo_and_no_argument_environment_or_file(run: Runner) -> None:
    sudo = run.root / "sudo"
    sudo.write_text(FAKE_SUDO)
    sudo.chmod(0o755)
    go_on = run.root / "go-on"
    play = run.play(
        f"""
- hosts: nodes
  become: true
  become_user: nobody
  vars: {{ansible_become_exe: {sudo}}}
  tasks:
    - {{name: Wait, ansible.builtin.wait_for: {{path: {go_on}, timeout: 40, sleep: 1}}}}
""",
        hosts="a",
        become_password=SECRET,
    )
    looked: list[int] = []

    def look(event: Event) -> None:
        if event["event"] != "task":
            return

        def inspect() -> None:
            deadline = time.monotonic() + 30
            while not (run.root / "received").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            for pid in descendants(os.getpid()):
                for name in ("cmdline", "environ"):
                    assert SECRET.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
                looked.append(pid)
            go_on.touch()

        threading.Thread(target=inspect, daemon=True).start()

    ran = run(play, look)
    assert ran.states("Wait") == {"a": "ok"}, ran.log
    assert len(looked) > 1
    assert (run.root / "received").read_text() == SECRET + "\n"
    assert SECRET not in ran.log + repr(play) + ansible.equivalent(play) + repr(ran.events)
    assert "--ask-become-pass" in ansible.equivalent(play)


# Where a play stops.


def test_a_failed_task_is_rescued_and_the_failure_is_still_told(run: Runner) -> None:
    ran = run(
        run.play(
            """
- hosts: nodes
  tasks:
    - block:
        - {name: Change, ansible.builtin.command: "false"}
        - {name: Not reached, ansible.builtin.command: "true"}
      rescue:
        - {name: Put back, ansible.builtin.command: "true"}
""",
            hosts="a",
        )
    )
    assert (ran.states("Change"), ran.states("Not reached"), ran.states("Put back")) == (
        {"a": "failed"},
        {},
        {"a": "changed"},
    )
    assert (ran.outcome.code, ran.outcome.hosts["a"]["rescued"]) == (0, 1)


def test_one_node_at_a_time_stops_at_the_first_failure(run: Runner) -> None:
    ran = run(
        run.play("""
- hosts: nodes
  serial: 1
  tasks:
    - name: Change
      ansible.builtin.command: "{{ 'false' if inventory_hostname == 'b' else 'true' }}"
- hosts: nodes
  tasks: [{name: Next play, ansible.builtin.command: "true"}]
""")
    )
    assert ran.states("Change") == {"a": "changed", "b": "failed"}
    assert ran.outcome.code == 2
    assert "c" not in ran.outcome.hosts


def test_any_errors_fatal_stops_all_nodes_where_one_failed(run: Runner) -> None:
    ran = run(
        run.play("""
- hosts: nodes
  any_errors_fatal: true
  tasks:
    - name: Change
      ansible.builtin.command: "{{ 'false' if inventory_hostname == 'b' else 'true' }}"
    - {name: Go on, ansible.builtin.command: "true"}
- hosts: nodes
  tasks: [{name: Next play, ansible.builtin.command: "true"}]
""")
    )
    assert ran.states("Change") == {"a": "changed", "b": "failed", "c": "changed"}
    assert (ran.states("Go on"), ran.states("Next play")) == ({}, {})


def test_an_unreachable_node_stops_the_others_when_errors_are_fatal(run: Runner) -> None:
    play = run.play(
        """
- hosts: nodes
  any_errors_fatal: true
  tasks:
    - {name: Look, ansible.builtin.ping: }
    - {name: Go on, ansible.builtin.ping: }
""",
        hosts="a b",
    )
    with play.inventory.open("a") as inventory:
        inventory.write("[nodes]\nb ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n")
    ran = run(play)
    assert ran.states("Go on") == {}
    assert ansible.failure(ran.outcome).code == Exit.UNKNOWN
