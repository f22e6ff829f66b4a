"""Names this process to other workers, and tells whether a named one is certainly gone.

A worker that was killed cannot give its leases up. Where the drive table lives on one host (SQLite), its
runs need not wait for the lease to expire: the kernel knows that the process is no more.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

PROC = Path("/proc")


def owner_name() -> str:
    """`host:pid:start:boot:namespace`: readable first, then what makes this very process recognisable later.

    `start`: start time in clock ticks since boot; `boot`: the running kernel; `namespace`: inode of the pid
    namespace. The last three are empty where the system does not tell them.
    """
    pid = os.getpid()
    start = _start(pid) if _world() else None
    boot, namespace = _world() or ("", "")
    return f"{socket.gethostname()}:{pid}:{start or ''}:{boot}:{namespace}"


def owner_is_dead(owner: str) -> bool:
    """True only if `owner` was a process under this kernel and pid namespace that is certainly gone.

    Gone: no process has its pid, or the one that has it started at another time, or it is a zombie. False
    whenever that cannot be known: another host, another container, a text that `owner_name` did not make.
    """
    try:
        host, pid, start, boot, namespace = owner.rsplit(":", 4)
        number = int(pid)
    except ValueError:
        return False
    if not start or host != socket.gethostname() or (boot, namespace) != _world():
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # it exists under another user, or is no pid at all
    found = _start(number)
    return found is not None and found != start


def _world() -> tuple[str, str] | None:
    """Boot id and pid namespace in which pids of this process have their meaning; None if not known."""
    try:
        if (PROC / "self").readlink().name != str(os.getpid()):
            return None  # /proc belongs to another namespace
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()[:8]
        return boot, str((PROC / "self/ns/pid").stat().st_ino)
    except OSError:
        return None


def _start(pid: int) -> str | None:
    """Start time of a process in ticks since boot; 'zombie' if it has ended; None if not known."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in front may hold spaces and brackets
    return "zombie" if fields[0] in "ZX" else fields[19]
