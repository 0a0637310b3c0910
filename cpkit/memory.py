"""How allocators treat large pieces of memory, in this process and in those that it starts.

Left alone, glibc gives a piece of a megabyte back to the kernel when it is freed, and the kernel clears it when it is
taken again. A stream does that for each of its pieces: of a backup it is a fifth of the time.
"""

import ctypes
import os

LARGEST = 32 << 20  # bytes of a piece that is kept when it is freed; the most that glibc allows
KEPT = 128 << 20  # bytes that are kept in all
AHEAD = 16 << 20  # bytes that are taken at once
# By glibc's malloc.h, and by the names of its environment; an allocator that has no mallopt does as it pleases.
SETTINGS = (
    (-3, "MALLOC_MMAP_THRESHOLD_", LARGEST),
    (-1, "MALLOC_TRIM_THRESHOLD_", KEPT),
    (-2, "MALLOC_TOP_PAD_", AHEAD),
)


def keep_freed() -> None:
    """Keep what is freed for what is needed next, from now on."""
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        for number, _, value in SETTINGS:
            tune(number, value)


def keeping_environment() -> dict[str, str]:
    """The environment of a program that is to do the same."""
    return {**os.environ, **{name: str(value) for _, name, value in SETTINGS}}
