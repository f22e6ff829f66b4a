"""The loading process as the demo sees it from outside: started, followed, and killed at a cruel moment."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from service.app import drive_of
from service.demo.worker import Told
from service.memory import peak_resident
from service.settings import PipelineConfig
from state.errors import PermanentError, TransientError
from state.model import Run, RunStatus

KILLED = -signal.SIGKILL


class Ended(msgspec.Struct, frozen=True):
    """How a process ended: its exit code (-9: killed), its wall time, the most memory that it had."""

    pid: int
    code: int
    seconds: float
    peak_bytes: int


def command(config: Path) -> list[str]:
    """What is started, the same each time."""
    return [sys.executable, "-m", "service.demo.worker", str(config)]


@contextmanager
def started(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process; it does not outlive the context."""
    with (
        log.open("w") as errors,
        subprocess.Popen(command(config), stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def follow(
    config: Path, log: Path, hear: Callable[[Told], None], doom: Callable[[int, Told], bool] | None = None
) -> Ended:
    """Run the process to its end, or until `doom(pid, what it told last)` says that it is to be killed."""
    began, peak = time.monotonic(), 0
    with started(config, log) as process:
        for line in process.stdout or ():
            said = msgspec.json.decode(line, type=Told)
            hear(said)
            if said.finished:
                peak = max(peak, peak_resident(process.pid))
            if doom is not None and process.poll() is None and doom(process.pid, said):
                process.kill()
                doom = None
        code = process.wait()
    return Ended(process.pid, code, time.monotonic() - began, peak)


def require_end(ended: Ended, expected: int, log: Path) -> None:
    """Raise `PermanentError` unless the process ended as it should."""
    if ended.code != expected:
        said = log.read_text().strip().splitlines() or ["nothing"]
        raise PermanentError(
            f"the loading process ended with {ended.code} and not with {expected}; it said: {said[0]}",
            hint=f"See {log}.",
            code="demo",
        )


def caught_in_transfer(config: PipelineConfig, pid: int) -> bool:
    """True if a run is between its parts right now: the process is then left standing still.

    Otherwise it goes on as if nothing had happened.
    """
    os.kill(pid, signal.SIGSTOP)
    try:
        running = runs_of(config, RunStatus.RUNNING)
    except TransientError:  # it holds the drive table's pen at this instant
        running = []
    if any(half_read(run) for run in running):
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def half_read(run: Run) -> bool:
    """Some of its parts are read, and some are not."""
    read = sum(part.is_read for part in run.manifest.parts)
    return 0 < read < len(run.manifest.parts)


def runs_of(config: PipelineConfig, *statuses: RunStatus) -> list[Run]:
    """Runs in the drive table, as another process sees them."""

    async def look() -> list[Run]:
        async with drive_of(config) as drive:
            return await drive.runs(config.pipeline_metadata.pipeline_name, statuses=statuses)

    return asyncio.run(look())
