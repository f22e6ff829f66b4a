"""Processes that must not outlive the one that started them, however it ends: SIGKILL tells nobody.

A guard is started beside the first of them, in a session of its own, which Ctrl-C does not reach. A pipe tells it
of each process, and it kills what is still there when the pipe is closed or its own parent is another one: that is
how the end of the parent shows, also where a forked child of it holds the pipe open. (PR_SET_PDEATHSIG would not
do: it tells of the end of the *thread* that started a process, and what that starts in turn knows nothing of it.)
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

LOOK_SECONDS = 0.5
"""Time between two looks whether the parent is there."""

_guards: dict[int, subprocess.Popen[bytes]] = {}
"""The guard of this process, by its id: a forked child has one of its own."""

_telling = threading.Lock()
"""Servers are started side by side, each by a thread."""


def started(command: Any, **options: Any) -> subprocess.Popen[Any]:
    """Start a process that ends with this one; with `start_new_session` all that it starts ends too."""
    process = subprocess.Popen(command, **options)
    with _telling:
        pipe = _guard().stdin
        assert pipe is not None
        pipe.write(f"{process.pid} {birth(process.pid)}\n".encode())
        pipe.flush()
    return process


def birth(pid: int) -> str:
    """When a process began, in ticks since the machine did, which tells it from a later one of its number; empty
    if it has ended."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if told[0] == "Z" else told[19]


def _guard() -> subprocess.Popen[bytes]:
    if os.getpid() not in _guards:
        _guards[os.getpid()] = subprocess.Popen(
            [sys.executable, "-S", __file__, str(os.getpid())], stdin=subprocess.PIPE, start_new_session=True
        )
        atexit.register(_dismiss, os.getpid())
    return _guards[os.getpid()]


def _dismiss(pid: int) -> None:
    if pid == os.getpid():
        _guards.pop(pid).communicate()


def _watch(parent: int) -> None:
    """What the guard does: `parent` started it, and its standard input tells whom to end."""
    told = b""
    while os.getppid() == parent:
        if select.select([0], [], [], LOOK_SECONDS)[0]:
            if not (more := os.read(0, 65_536)):
                break
            told += more
    for line in told.decode().splitlines():
        pid, _, began = line.partition(" ")
        if began and birth(int(pid)) == began:
            _end(int(pid))


def _end(pid: int) -> None:
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
