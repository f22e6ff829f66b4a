"""One run of a way in a process of its own, and the table of ways that took turns, with ratios to one of them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from service.memory import peak_resident


class Measured(msgspec.Struct):
    """One run of a way; `wall` and `cpu` in seconds, `peak` in MiB."""

    rows: int
    wall: float
    cpu: float
    peak: float


def tell(way: Callable[[], int]) -> None:
    """Body of the measured process: a JSON line about `way`, which gives its rows. Imports are counted as memory
    only."""
    began, cpu = time.perf_counter(), time.process_time()
    count = way()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps([count, wall, cpu, peak_resident(os.getpid()) / 2**20]))


def measured(command: Sequence[object], expected: int) -> Measured:
    """What the process of `command` tells with its last line."""
    done = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True)
    found = Measured(*json.loads(done.stdout.splitlines()[-1]))
    assert found.rows == expected, f"{command} gave {found.rows} of {expected}"
    return found


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
