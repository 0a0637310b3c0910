"""Processes that die with cpkit, however it dies."""

import ctypes
import os
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
# A fork of a process with threads, gRPC's for example, may do little before it becomes another program: so a fresh
# interpreter does it.
LAUNCHER = f"""
import ctypes, os, sys
parent, signal, *argv = sys.argv[1:]
ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, int(signal))
os.getppid() == int(parent) or os._exit(1)
os.execv(argv[0], argv)
"""


def die_with(parent: int, signal: int) -> None:
    """Ask the kernel, in a child, to signal it when cpkit dies; it may have died before the kernel was asked."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        os._exit(1)


def bound(argv: Sequence[str], signal: int) -> list[str]:
    """The command, given by its path, as one that is signalled when the thread that started it ends."""
    return [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), str(int(signal)), *argv]
