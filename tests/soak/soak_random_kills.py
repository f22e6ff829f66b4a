"""Workers killed at random moments, over and over, until the work is done: nothing lost, nothing twice.

The moments are of the clock and not of the ports, so they also fall inside a library's own calls.
SOAK_MINUTES bounds it (default 10); SOAK_SEED repeats one.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from datetime import timedelta
from pathlib import Path

from tests.lifecycle.processes import process_of
from tests.lifecycle.test_crash import MODES, attempt
from tests.lifecycle.world import START, World, events

MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))
SEED = int(os.environ.get("SOAK_SEED", time.time_ns() % 1_000_000))
LONGEST_LIFE_SECONDS = 2.0


def world(root: Path, mode: str) -> World:
    many_parts = {"phases": {"source_to_stage_transfer": {"rows_per_part": 500, "chunk_rows": 250}}}
    made = World(root, {**MODES[mode], "windows": {"width": "20m"}, **many_parts})
    made.write("day", events(7200, START, timedelta(seconds=1)))
    return made


def killed_until_done(made: World, dice: random.Random) -> int:
    """Start workers and kill each after a random time, until one ends by itself; returns the kills."""
    kills = 0
    while True:
        with process_of(attempt, made, None) as worker:
            worker.join(dice.uniform(0.05, LONGEST_LIFE_SECONDS))
            ended = worker.exitcode
        if ended is not None:
            assert ended == 0
            return kills
        kills += 1
        shutil.rmtree(made.root / "spool", ignore_errors=True)


def test_killed_at_random_moments_until_done(tmp_path: Path):
    print(f"\nseed {SEED}, {MINUTES:g} minutes")
    dice, until = random.Random(SEED), time.monotonic() + MINUTES * 60
    expected = {}
    for mode in MODES:
        faultless = world(tmp_path / mode, mode)
        faultless.run()
        expected[mode] = faultless.content_hash(), sorted(faultless.receipts())
    rounds = kills = 0
    while time.monotonic() < until:
        mode = dice.choice(list(MODES))
        made = world(tmp_path / f"round{rounds}", mode)
        kills += killed_until_done(made, dice)
        assert (made.content_hash(), sorted(made.receipts())) == expected[mode], f"round {rounds}, {mode}"
        shutil.rmtree(made.root)
        rounds += 1
    print(f"{rounds} rounds, {kills} kills, every target equal to the run without fault, one receipt per run")
    assert kills > rounds
