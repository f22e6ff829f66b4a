"""The exit code of a command is its own, whatever else lives in the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, os, sys, threading
import service.__main__ as command

def performed(arguments):
    atexit.register(os.abort)  # as a vendor's library does when the interpreter goes
    threading.Thread(target=threading.Event().wait).start()  # as a function that hangs
    sys.stdout.write("said")
    return int(arguments[0])

command.command_line = performed
command.main()
"""


@pytest.mark.parametrize("code", [0, 3])
def test_neither_a_library_nor_a_thread_that_hangs_changes_the_exit_code(code):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(code)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "said", "")
