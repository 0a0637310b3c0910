"""Bring a systemd unit to the state it should be in, and wait until it is really there."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

POLL = 0.1
BEGUN = 2.0  # seconds until systemd has begun to stop a unit
COMMAND = re.compile(r"^ExecStart=((?:.*\\\n)*.*)$", re.MULTILINE)
UNITS = Path("/etc/systemd/system")
PENDING = Path("/run/cpkit")  # gone after a reboot, when everything runs with what lies there
EXPANDED = re.compile("[\"'$%\\\\]")  # in a command, systemd makes something else of these


class UnitFailed(Exception):
    """The unit did not reach its state; the text carries the end of its journal."""


def systemctl(*words: str, check: bool = True) -> str:
    """Run systemctl and return what it prints."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise UnitFailed(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def properties(unit: str) -> dict[str, str]:
    """What systemd says of a unit."""
    names = "ActiveState,SubState,UnitFileState,NeedDaemonReload,Result,MainPID"
    lines = systemctl("show", unit, f"--property={names}", check=False).splitlines()
    return dict(line.partition("=")[::2] for line in lines)


def is_up(state: dict[str, str]) -> bool:
    """Whether a unit of which systemd says this is up; one that keeps crashing is not."""
    return state.get("ActiveState") in {"active", "reloading"}


def is_running(unit: str) -> bool:
    """Whether the unit is up now."""
    return is_up(properties(unit))


def runs_elsewhere(state: dict[str, str], folders: list[str]) -> str:
    """The program of a running unit's main process, if it lies in none of the folders; else empty."""
    pid = state.get("MainPID", "0")
    try:
        program = str(Path(f"/proc/{pid}/exe").readlink()) if pid != "0" else ""
    except OSError:
        program = ""
    homes = {Path(folder).resolve() for folder in folders}
    return program if program and homes and Path(program).parent not in homes else ""


def other_flags(state: dict[str, str], text: str) -> str:
    """The flags with which a unit's main process was started otherwise than its file says; empty if not known."""
    found = COMMAND.search(text)
    command = found.group(1).replace("\\\n", " ") if found else ""
    pid = state.get("MainPID", "0")
    try:
        started = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0") if pid != "0" else []
    except OSError:
        started = []
    if not command or not started or EXPANDED.search(command):
        return ""
    differ = set(command.split()[1:]) ^ set(started[1:])
    return ", ".join(sorted({word.partition("=")[0] for word in differ}))


def pending(unit: str, folder: Path = PENDING) -> Path:
    """The file that lies there from before the files of a running unit are changed until it is restarted."""
    return folder / f"{unit}.pending"


def runs_as_its_file_says(unit: str) -> bool:
    """Whether a unit is up, now and after a boot, from the program and with the flags of its own file if it has one."""
    try:
        text = (UNITS / unit).read_text()
    except OSError:
        text = ""  # a package's unit, of which nothing but its settings is ours
    command = COMMAND.search(text)
    words = command.group(1).split() if command else []
    if text and not words:
        return False
    state = properties(unit)
    home = [str(Path(words[0]).parent)] if words else []
    as_it_says = not (lacks(state) or runs_elsewhere(state, home) or other_flags(state, text))
    return as_it_says and state.get("NeedDaemonReload") == "no" and not pending(unit).exists()


def wait_until_started_with(unit: str, text: str, timeout: float = 10.0) -> None:
    """Wait until a unit's main process was started as its file says."""
    deadline = time.monotonic() + timeout
    while flags := other_flags(properties(unit), text):
        if time.monotonic() > deadline:
            raise UnitFailed(f"{unit} was started with another {flags} than its file has; see: systemctl cat {unit}")
        time.sleep(POLL)


def wait_until_it_runs_from(unit: str, folders: list[str], timeout: float = 10.0) -> None:
    """Wait until a unit's main process is a program from one of the folders, not the one before."""
    deadline = time.monotonic() + timeout
    while not is_up(state := properties(unit)) or runs_elsewhere(state, folders):
        if time.monotonic() > deadline:
            program = runs_elsewhere(state, folders) or "nothing"
            raise UnitFailed(f"{unit} runs {program}, not what was selected\n{journal(unit)}")
        time.sleep(POLL)


def lacks(state: dict[str, str]) -> str:
    """What a unit needs that is to run now and after each boot: start, enable, or nothing."""
    if not is_up(state):
        return "start"
    return "" if state.get("UnitFileState") in {"enabled", "static"} else "enable"


def bring_up(unit: str, *, restart: bool, reload: bool) -> str:
    """Enable and start a unit, or restart or reload it; says which of these was needed ('' for none)."""
    state = properties(unit)
    verb = lacks(state)
    if is_up(state):
        verb = "restart" if restart else "reload" if reload else verb
    if state.get("UnitFileState") not in {"enabled", "static"}:
        systemctl("enable", "--quiet", unit)
    if verb in {"start", "restart", "reload"}:
        if verb == "start":
            systemctl("reset-failed", unit, check=False)
        try:
            systemctl(verb, unit)
        except UnitFailed as error:
            raise UnitFailed(f"{unit} did not {verb}: {error}\n{journal(unit)}") from error
    return verb


def restart_together(units: list[str]) -> None:
    """Restart units, given in the order of their start; none waits with its stop for the stop of another one.

    The jobs are systemd's own from the beginning, so what is stopped is started again whatever becomes of this process.
    """
    jobs = {}
    for unit in units:
        # A stop that goes on is waited for by no other stop; one that waits in the queue would be.
        jobs[unit] = subprocess.Popen(
            ["systemctl", "restart", unit], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + BEGUN
        while jobs[unit].poll() is None and is_running(unit) and time.monotonic() < deadline:
            time.sleep(0.01)
    failed = {unit: job.stderr.read().strip() for unit, job in jobs.items() if job.stderr and job.wait()}
    for unit, error in failed.items():
        raise UnitFailed(f"{unit} did not restart: {error}\n{journal(unit)}")


def wait_until_ready(unit: str, url: str, authority: str, timeout: float) -> None:
    """Wait until the unit runs and the URL answers 200; UnitFailed with the reason when the time is over."""
    context = ssl.create_default_context(cafile=authority) if authority else None
    deadline = time.monotonic() + timeout
    reason = "no answer yet"
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2, context=context) as answer:  # noqa: S310 - our own URL
                if answer.status == 200:
                    return
        except urllib.error.HTTPError as error:
            reason = error.read().decode(errors="replace").strip()
        except OSError as error:
            reason = str(error)
        time.sleep(POLL)
    raise UnitFailed(f"{unit} runs, but {url} was not ready within {timeout:.0f} s: {reason}\n{journal(unit)}")


def journal(unit: str) -> str:
    """The last lines a unit wrote; of structured ones what a person needs, and each only once."""
    command = ["journalctl", "--no-pager", "--output=cat", "--lines=40", f"--unit={unit}"]
    written = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    told = [line for line in map(_readable, written) if line]
    last = list(dict.fromkeys(reversed(told)))[:12]
    return "".join(f"  {line}\n" for line in reversed(last))


def _readable(line: str) -> str:
    """An etcd line without what only a program wants; empty when it tells no trouble."""
    try:
        entry = json.loads(line)
        level, message = entry["level"], entry["msg"]
    except (ValueError, TypeError, KeyError):
        return line[:300].rstrip()
    if level in {"debug", "info"}:
        return ""
    return f"{level}: {message}" + (f": {entry['error']}" if entry.get("error") else "")
