"""One run of a way in a process of its own, and the table of ways that took turns, with ratios to one of them."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from service.memory import peak_resident

T = TypeVar("T")
LOOK_SECONDS = 0.05
"""Between two looks at the peak of a process that does not tell it itself."""


class Measured(msgspec.Struct):
    """One run of a way; `wall` and `cpu` in seconds, `peak` in MiB, `lag` of its event loop in milliseconds."""

    rows: int
    wall: float
    cpu: float
    peak: float
    lag: float | None = None


def tell(way: Callable[[], int | tuple[int, float]]) -> None:
    """Body of the measured process: a JSON line about `way`, which gives its rows, and its lag if it knows.
    Imports are counted as memory only."""
    began, cpu = time.perf_counter(), time.process_time()
    found = way()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    count, *lag = found if isinstance(found, tuple) else (found,)
    print(json.dumps([count, wall, cpu, peak_resident(os.getpid()) / 2**20, *lag]))


def measured(command: Sequence[object], expected: int) -> Measured:
    """What the process of `command` tells with its last line."""
    done = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True)
    found = Measured(*json.loads(done.stdout.splitlines()[-1]))
    assert found.rows == expected, f"{command} gave {found.rows} of {expected}"
    return found


def watched(command: Sequence[object], rows: int) -> Measured:
    """A process from its start to its end, its children with it; `rows`: what it is known to load."""
    began, peak = time.perf_counter(), 0
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen([*map(str, command)], stdout=said, stderr=said) as process,
    ):
        while True:
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            peak = max(peak, peak_resident(process.pid))
            time.sleep(LOOK_SECONDS)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        assert not process.returncode, said.read().decode()[-2000:]
    return Measured(rows, wall, used.ru_utime + used.ru_stime, peak / 2**20)


def show(found: Mapping[str, Sequence[Measured]], base: str) -> None:
    """The table; ratios to `base` are of runs of the same round."""
    print(f"{'way':10} {'wall s':>8} {'CPU s':>8} {'MiB':>6} {f'wall/{base}':>12} {f'CPU/{base}':>11}")
    for way, times in found.items():
        wall, cpu, peak = (statistics.median(getattr(x, name) for x in times) for name in ("wall", "cpu", "peak"))
        slower, more = (
            statistics.median(getattr(a, name) / getattr(b, name) for a, b in zip(times, found[base], strict=True))
            for name in ("wall", "cpu")
        )
        print(f"{way:10} {wall:8.2f} {cpu:8.2f} {peak:6.0f} {slower:12.2f} {more:11.2f}")


def markdown(found: Mapping[str, Sequence[Measured]], bases: Sequence[str]) -> None:
    """The table in Markdown: medians, the highest peak and lag, and the median ratio of the walls to those of each
    base in the same round."""
    print("| way | wall s | CPU s | peak MiB | lag ms |", " | ".join(f"wall / {base}" for base in bases), "|")
    print("|---|---|---|---|---|" + "---|" * len(bases))
    for way, times in ((way, times) for way, times in found.items() if times):
        wall, cpu = (statistics.median(getattr(x, name) for x in times) for name in ("wall", "cpu"))
        lags = [x.lag for x in times if x.lag is not None]
        ratios = [statistics.median(a.wall / b.wall for a, b in zip(times, found[base])) for base in bases]  # noqa: B905
        cells = [
            f"{wall:.2f}",
            f"{cpu:.2f}",
            f"{max(x.peak for x in times):.0f}",
            f"{max(lags):.0f}" if lags else "",
        ]
        print(f"| {way} |", " | ".join([*cells, *(f"{ratio:.2f}" for ratio in ratios)]), "|")


async def with_lag(work: Awaitable[T]) -> tuple[T, float]:
    """What `work` gives, and how late the event loop woke at worst meanwhile, in milliseconds."""
    loop, worst = asyncio.get_running_loop(), 0.0

    async def sampled() -> None:
        nonlocal worst
        while True:
            before = loop.time()
            await asyncio.sleep(0.005)
            worst = max(worst, loop.time() - before - 0.005)

    sampling = asyncio.create_task(sampled())
    found = await work
    sampling.cancel()
    return found, worst * 1000
