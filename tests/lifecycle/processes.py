"""Worker processes of the tests: none outlives its test, not even one that was stopped with SIGSTOP.

A child left behind would be waited for when pytest itself ends, for ever.

Threads may start processes side by side, and starting one asks all others whether they ended. Two that ask one
process at the same time take its exit code away from each other (one is told 255), so a lock lets one ask.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "connectors.elasticsearch.connector",
        "connectors.files.connector",
        "connectors.mysql.connector",
        "loaders.duckdb.loader",
        "pytest",
        "state.sqlite",
        "tests.lifecycle.ports",
        "tests.lifecycle.world",
        "tests.servers.search",
        "tests.snowflake.running",
    ]
)
"""What bodies need, imported once and not by each process. Nothing here starts a thread that a forked process
would miss: Snowflake's connector does, so neither it nor what imports it is among them."""
_ASKING = threading.Lock()


@contextmanager
def process_of(body: Callable[..., object], *args: object) -> Iterator[BaseProcess]:
    """A started process that calls `body(*args)`; killed at the end of the block."""
    process = _CONTEXT.Process(target=body, args=args)
    with _ASKING:
        process.start()
    try:
        yield process
    finally:
        with _ASKING:
            process.kill()
            process.join()


def exit_code(body: Callable[..., object], *args: object, seconds: float = 60) -> int:
    """Exit code of a process that calls `body(*args)` and ends by itself; -9: killed."""
    with process_of(body, *args) as process:
        assert wait([process.sentinel], seconds), f"the process did not end within {seconds:g} s"
        with _ASKING:
            process.join()
            assert process.exitcode is not None
            return process.exitcode
