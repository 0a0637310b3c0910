"""A process of ansible-playbook: it loads its play, begins when it is told to, and tells its events."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cpkit.ansible.outcome import Event, Outcome
from cpkit.ansible.play import Play, argv, configuration, program
from cpkit.errors import CpkitError
from cpkit.lifeline import die_with

# Ansible checks each role's arguments on each host, in tasks that are tagged so; cpkit has checked the same before.
CHECKED = ("--skip-tags", "always")


@dataclass(frozen=True)
class Loaded:
    """Ansible with a play that it loads or has loaded; on no machine is anything done before `run`."""

    process: subprocess.Popen[bytes]
    log: Path
    begin: int  # the descriptor by which it is told to
    events: int  # the descriptor on which it tells

    def run(self, on_event: Callable[[Event], None]) -> Outcome:
        """Have it begin, and tell each event as it comes; once only.

        A CpkitError is raised only when Ansible could not do its work at all; failed hosts are in the outcome.
        """
        hosts, failures = {}, []
        with suppress(BrokenPipeError):  # it has ended; its log tells why
            os.write(self.begin, b"\n")
        with os.fdopen(self.events, encoding="utf-8", closefd=False) as stream:
            for event in map(json.loads, stream):
                if event["event"] == "stats":
                    hosts = event["hosts"]
                elif event.get("state") in {"failed", "unreachable"}:
                    failures.append(event)
                on_event(event)
        code = self.process.wait()
        on_event({"event": "exit", "code": code})
        if code and not failures:
            raise CpkitError(_reason(self.log, code), hint=f"The whole output is in {self.log}")
        return Outcome(code, hosts, tuple(failures))


def run(play: Play, *, log: Path, on_event: Callable[[Event], None], keep_open: tuple[int, ...] = ()) -> Outcome:
    """Load a play and run it at once."""
    with loaded(play, log=log, keep_open=keep_open) as ready:
        return ready.run(on_event)


@contextmanager
def loaded(play: Play, *, log: Path, keep_open: tuple[int, ...] = ()) -> Iterator[Loaded]:
    """Ansible, loading a play while something else is done; its whole output goes to the log.

    Descriptors in `keep_open` stay open in Ansible and its workers for as long as any of them lives. With the context
    Ansible ends, too: when it was never told to begin, or something is raised, it is ended, so that nothing goes on
    unseen.
    """
    events, telling = os.pipe()
    waiting, begin = os.pipe()
    try:
        ask = ["--become-password-file", "-"] if play.become_password else []
        with log.open("ab") as output, _password(play.become_password) as stdin:
            process = subprocess.Popen(
                [program(), *argv(play), *ask, *CHECKED],
                env=os.environ
                | {
                    "ANSIBLE_CONFIG": str(configuration()),
                    "CPKIT_BEGIN": str(waiting),
                    "CPKIT_EVENTS": str(telling),
                    "NO_COLOR": "1",
                },
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(waiting, telling, *keep_open),
                start_new_session=True,
                preexec_fn=partial(die_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - nothing there but system calls
            )
            os.close(waiting)
            os.close(telling)
            waiting = telling = -1
            with _ended(process):
                yield Loaded(process, log, begin, events)
    finally:
        for descriptor in (events, telling, waiting, begin):
            if descriptor >= 0:
                os.close(descriptor)


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@contextmanager
def _password(secret: str) -> Iterator[int]:
    """The standard input that hands the become password over: it is in no argument, environment or file."""
    if not secret:
        yield subprocess.DEVNULL
        return
    reading, writing = os.pipe()
    os.write(writing, secret.encode() + b"\n")
    os.close(writing)
    try:
        yield reading
    finally:
        os.close(reading)


def _reason(log: Path, code: int) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "it said nothing")
    return f"ansible-playbook ended with {code}: {told.removeprefix('[ERROR]: ')}"
