"""Starts the processes that are measured, and says what is asked of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_MIB = 350
TIMES = 3
"""Extractions of the small size, of which the highest peak counts."""
APART = 1.15
"""How many times the smaller peak the larger may be."""
ROWS_PER_PART = 40_000
"""So that the smallest size has several parts: as many are read at a time, in full pages, whatever the size."""


@contextmanager
def started(module: str, folder: Path, *arguments: object) -> Iterator[subprocess.Popen]:
    """The process, ended with the context at the latest."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", module, str(folder), *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen) -> str:
    """What it said when it had ended well."""
    told = process.stdout.read()
    assert process.wait() == 0
    return told


def extraction(folder: Path, url: str, index: str, rows_per_part: int = ROWS_PER_PART) -> dict:
    """What `tests.e2e.extraction` tells, shown as well."""
    with started("tests.e2e.extraction", folder, url, index, rows_per_part) as process:
        told = json.loads(answer(process))
    size = f"{told['rows']:>9,} documents, {told['parts']:>2} parts"
    print(f"{size}: {told['peak_mib']:.0f} MiB, {told['seconds']} s", flush=True)
    return told


def highest(folder: Path, url: str, index: str, times: int) -> dict:
    """The extraction with the highest peak of several: a short one may miss the moment when two peaks meet."""
    told = [extraction(folder / str(n), url, index) for n in range(times)]
    return max(told, key=lambda one: one["peak_mib"])


def require_bounded(small: dict, large: dict) -> None:
    """Memory is that of the work under way, not of the number of documents."""
    peaks = sorted([small["peak_mib"], large["peak_mib"]])
    assert peaks[1] <= MOST_MIB
    assert peaks[1] <= APART * peaks[0]
