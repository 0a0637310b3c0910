"""Holds the main process of a unit for a moment; runs on a node, with the standard library alone.

It says `ready` once it has found the process, stops it when told `hold`, says `held`, and lets it go on at the next
line, when its input ends, or after some seconds. A child lets it go on when this program dies, however it dies.
"""

import os
import select
import signal
import subprocess
import sys

BEGIN = 20.0  # seconds to wait for the word


def main() -> None:
    """Hold argv[1] for at most argv[2] seconds."""
    unit, seconds = sys.argv[1], float(sys.argv[2])
    show = ["systemctl", "show", "--property=MainPID", "--value", unit]
    pid = int(subprocess.run(show, stdout=subprocess.PIPE, check=True).stdout or 0)
    if not pid:
        say("absent")
        return
    process = os.pidfd_open(pid)
    guard(process)
    say("ready")
    if heard(BEGIN) != "hold":
        return
    signal.pidfd_send_signal(process, signal.SIGSTOP)
    try:
        say("held")
        heard(seconds)
    finally:
        signal.pidfd_send_signal(process, signal.SIGCONT)


def guard(process: int) -> None:
    """Fork a child that outlives this program by a signal: the process goes on as soon as this one is gone."""
    ends, held = os.pipe()
    if os.fork():
        os.close(ends)
        return
    os.setsid()
    os.close(held)
    for stream in (0, 1, 2):
        os.close(stream)
    os.read(ends, 1)  # ends when the last writer, which is the parent, does
    signal.pidfd_send_signal(process, signal.SIGCONT)
    os._exit(0)


def heard(seconds: float) -> str:
    """The next line of stdin; empty when it has ended or nothing came in time."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return sys.stdin.readline().strip() if readable else ""


def say(line: str) -> None:
    """Answer."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
