"""The memory of a process: how much it has, and that what is no longer needed goes back to the system.

A page of documents is megabytes of short-lived buffers, made and freed in several threads. What allocators keep
of them for next time was a fifth of an extraction's peak (1.3 million flights: 339 MiB without this, 263 with it,
for 2 percent more CPU time), and grew with the number of cores.
"""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE = 1 << 20
"""Bytes from which on a buffer is a mapping of its own; unset, glibc raises this limit to 32 MiB by itself."""
ARENAS = 2
"""Heaps that threads share; unset, there are eight per core, each with its own leftovers."""


def give_back() -> None:
    """Settle it for this process. To be called before pyarrow is imported, which chooses its allocator then.

    `ARROW_DEFAULT_MEMORY_POOL` in the environment still wins. A C library without `mallopt` is left as it is.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, LARGE)
        mallopt(M_ARENA_MAX, ARENAS)


def settle() -> None:
    """What is there now stays: the garbage collector looks through it once more, and then never again.

    A started daemon has 140,000 objects, nearly all of them code and settings. Each full collection of them holds
    the event loop for 50 ms and more. To be called once, when what a process works with is loaded.
    """
    gc.collect()
    gc.freeze()


def resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 where the system does not tell."""
    return _told(pid, "VmRSS:")


def peak_resident(pid: int) -> int:
    """The most that it had so far. `getrusage` would count what its parent held when it started it."""
    return _told(pid, "VmHWM:")


def _told(pid: int, line: str) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(text.split()[1]) * 1024 for text in status.splitlines() if text.startswith(line)), 0)
