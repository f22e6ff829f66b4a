"""Servers of the tests end with the process that started them, even if that is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.guard import birth

ROOT = Path(__file__).parents[2]

PARENT = """
import os, threading, time
from tests.servers.guard import started

found = []
def in_a_thread_that_ends():
    found.append(started(["sleep", "600"]).pid)
    shell = started(["sh", "-c", "sleep 600 & echo $!; wait"], start_new_session=True, stdout=-1, text=True)
    found.extend([shell.pid, int(shell.stdout.readline())])
threading.Thread(target=in_a_thread_that_ends).start()
while len(found) < 3:
    time.sleep(0.01)
if {fork}:
    if not (child := os.fork()):
        time.sleep(600)
    found.append(child)
print(*found, flush=True)
time.sleep({seconds})
"""


@pytest.fixture
def left() -> Iterator[list[int]]:
    """Numbers of processes that are killed at the end, should they still be there."""
    found: list[int] = []
    yield found
    for pid in found:
        if birth(pid):
            os.kill(pid, signal.SIGKILL)


def run(seconds: float, *, fork: bool = False) -> tuple[subprocess.Popen[str], list[int]]:
    command = [sys.executable, "-c", PARENT.format(seconds=seconds, fork=fork)]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, [int(word) for word in parent.stdout.readline().split()]


def gone(pids: list[int]) -> bool:
    until = time.monotonic() + 20
    while any(birth(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("fork", [False, True], ids=["alone", "with a child that holds the pipe"])
def test_a_killed_process_takes_its_servers_along(left, fork):
    parent, pids = run(600, fork=fork)
    left += pids
    with parent:
        time.sleep(1)  # the thread that started them has ended meanwhile
        assert all(birth(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
    assert gone(pids[:3])


def test_a_process_that_ends_by_itself_takes_them_along_too(left):
    parent, pids = run(0.1)
    left += pids
    with parent:
        assert parent.wait(20) == 0
    assert gone(pids)


def test_every_server_of_the_tests_is_guarded():
    files = [*(ROOT / "tests" / "servers").glob("*.py"), ROOT / "tests" / "snowflake" / "running.py"]
    bare = [path.name for path in files if re.search(r"[^\w\[]Popen\(|subprocess\.Popen\(", path.read_text())]
    assert bare == ["guard.py"]
