"""Worker processes of the tests: none outlives its test, not even one that was stopped with SIGSTOP.

A child left behind would be waited for when pytest itself ends, for ever.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.lifecycle.world", "tests.lifecycle.ports"])


@contextmanager
def process_of(body: Callable[..., object], *args: object) -> Iterator[BaseProcess]:
    """A started process that calls `body(*args)`; killed at the end of the block."""
    process = _CONTEXT.Process(target=body, args=args)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def exit_code(body: Callable[..., object], *args: object, seconds: float = 60) -> int:
    """Exit code of a process that calls `body(*args)` and ends by itself; -9: killed."""
    with process_of(body, *args) as process:
        process.join(seconds)
        assert process.exitcode is not None, f"the process did not end within {seconds:g} s"
        return process.exitcode
