"""The process that loads: what `sluiceway run` does, telling what happens as lines of JSON.

It does not know that it will be killed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from service import exit_codes
from service.app import opened
from service.config import load_config
from service.events import Event, PartRead, RunFailed, RunFinished, WindowsOpened
from service.memory import give_back
from service.settings import PipelineConfig
from state.errors import SluicewayError
from state.registry import backend


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `windows`: opened; `finished`: a run ended well with that many rows; `failed`: why one did not.

    `part`: so many of `parts` parts of a run are read and safe.
    """

    windows: int = 0
    finished: str = ""
    rows: int = 0
    part: int = 0
    parts: int = 0
    failed: str = ""


def told(event: Event) -> Told | None:
    match event:
        case WindowsOpened(windows=windows):
            return Told(windows=len(windows))
        case PartRead(done=done, total=total):
            return Told(part=done, parts=total)
        case RunFinished(run=run):
            return Told(finished=run.name, rows=run.manifest.rows)
        case RunFailed(run=run, failure=failure):
            return Told(failed=f"{run.name}: {failure.message}")
    return None


def tell(event: Event) -> None:
    if (line := told(event)) is not None:
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
        sys.stdout.buffer.flush()


async def load(config: PipelineConfig) -> int:
    """All windows that are due, once; returns the exit code."""
    await backend(config.drive_table).init()
    async with opened(config, tell) as worker:
        return exit_codes.of_runs(exit_codes.as_left(await worker.run_due()))


def main(config: Path) -> int:
    try:
        return asyncio.run(load(load_config(config)))
    except SluicewayError as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return exit_codes.of_error(error)


if __name__ == "__main__":
    give_back()
    sys.exit(main(Path(sys.argv[1])))
