"""What a run leaves behind: a directory with a journal that survives a crash, a log and a report; and its lock."""

import fcntl
import getpass
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cpkit.errors import CpkitError, Interrupted, Locked
from cpkit.paths import state_dir

POLL = 0.2
ORPHANS = 60.0  # seconds to wait for what a dead run still has under way


@dataclass
class Run:
    """One run of an operation on a cluster."""

    cluster: str
    operation: str
    directory: Path
    lock: int  # descriptor; whoever holds it open keeps the cluster locked
    steps: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.time)

    @property
    def log(self) -> Path:
        """Where Ansible's output goes."""
        return self.directory / "ansible.log"

    def write(self, event: str, **fields: Any) -> None:
        """Append a line to the journal; it is on the disk when this returns."""
        line = json.dumps({"at": round(time.time(), 3), "event": event, **fields}, default=str)
        with (self.directory / "run.jsonl").open("a") as stream:
            stream.write(line + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Journal the beginning and the end of a step, and how long it took."""
        began = time.monotonic()
        self.write("started", step=name)
        outcome = "interrupted"
        try:
            yield
            outcome = "done"
        except CpkitError as error:
            outcome = "failed"
            self.write("error", step=name, message=str(error), hint=error.hint)
            raise
        finally:
            seconds = round(time.monotonic() - began, 2)
            self.steps.append({"step": name, "outcome": outcome, "seconds": seconds})
            self.write(outcome, step=name, seconds=seconds)

    def report(self, **fields: Any) -> Path:
        """Write report.json, whole or not at all."""
        path = self.directory / "report.json"
        body = {
            "schema": 1,
            "cluster": self.cluster,
            "operation": self.operation,
            "started": datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - self.started, 2),
            "steps": self.steps,
            **fields,
        }
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(body, indent=2, default=str) + "\n")
        temporary.rename(path)
        return path


def unfinished(cluster: str, operation: str) -> Mapping[str, Any] | None:
    """The `target` that the last run of an operation wrote down and did not write `finished` after; None without one.

    For what has no target in the world, as a rotation or a restart: what was to be replaced is known only from here.
    """
    for directory in sorted((state_dir() / "clusters" / cluster / "runs").glob(f"*Z-{operation}"), reverse=True):
        events = {event["event"]: event for event in read_events(directory)}
        if target := events.get("target"):
            return None if "finished" in events else target
    return None


def read_events(directory: Path) -> Iterator[Mapping[str, Any]]:
    """The events of a run's journal; a line that a crash cut off or something damaged is left out."""
    try:
        lines = (directory / "run.jsonl").read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError, RecursionError):
            event = json.loads(line)
            if isinstance(event, dict) and {"at", "event"} <= event.keys():
                yield event


def is_going_on(cluster: str, pid: int) -> bool:
    """Whether the process of a run lives and holds the cluster's lock."""
    try:
        lock = os.open(state_dir() / "clusters" / cluster / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        holder = _holder(lock)
        if holder.get("pid") != pid or not _alive(holder):
            return False
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def owner() -> str:
    """Who runs this, as others are told."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


@contextmanager
def open_run(cluster: str, operation: str) -> Iterator[Run]:
    """Take the cluster's lock on this machine and open a run directory; Locked when another run goes on.

    The lock is a kernel lock on an open file, so it ends with the last process of the run that holds it.
    """
    home = state_dir() / "clusters" / cluster
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
    directory = home / "runs" / f"{stamp}-{operation}"
    try:
        directory.mkdir(parents=True, mode=0o700)
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CpkitError(
            f"cannot keep a journal: {error}", hint="Without a journal nothing is begun. Make the folder writable."
        ) from error
    try:
        _take(lock, cluster, operation)
        run = Run(cluster, operation, directory, lock)
        run.write(
            "begun", operation=operation, owner=owner(), pid=os.getpid(), words=sys.argv[1:], folder=str(Path.cwd())
        )
        with _ending(run):
            yield run
    finally:
        os.close(lock)


@contextmanager
def _ending(run: Run) -> Iterator[None]:
    """Journal as the last line how the run ended; a run that lacks this line was cut off."""
    end = {"outcome": "done"}
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as error:
        end = {"outcome": "interrupted", "message": str(error), "hint": getattr(error, "hint", "")}
        raise
    except CpkitError as error:
        end = {"outcome": "failed", "message": str(error), "hint": error.hint}
        raise
    except BaseException as error:
        end = {"outcome": "failed", "message": f"{type(error).__name__}: {error}", "hint": ""}
        raise
    finally:
        with suppress(OSError):  # a full disk hides nothing that is being raised
            run.write("ended", **end)


def _take(lock: int, cluster: str, operation: str) -> None:
    deadline = time.monotonic() + ORPHANS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(lock)
            if _alive(holder) or time.monotonic() > deadline:
                raise _locked(cluster, holder) from None
            time.sleep(POLL)  # that run is dead; what it had under way on the nodes is still ending
            continue
        body = {"operation": operation, "owner": owner(), "pid": os.getpid(), "since": int(time.time())}
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(body).encode(), 0)
        return


def _holder(lock: int) -> dict[str, Any]:
    try:
        held = json.loads(os.pread(lock, 4096, 0))
    except ValueError:
        return {}
    return held if isinstance(held, dict) else {}


def _alive(holder: dict[str, Any]) -> bool:
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except (KeyError, PermissionError):
        return True
    return True


def _locked(cluster: str, holder: dict[str, Any]) -> Locked:
    since = datetime.fromtimestamp(holder.get("since", 0), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Locked(
        f"cluster {cluster} is locked: {holder.get('owner', 'somebody')} runs {holder.get('operation', 'something')} "
        f"(process {holder.get('pid', 'unknown')}) since {since}",
        hint="Wait until that run is over. A lock of a dead run goes away by itself.",
    )
