"""What a window takes of Snowflake through the whole service: the sum of docs/snowflake-statements.md."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from state.model import RunStatus
from tests.cli.shell import process
from tests.lifecycle.snowflake_world import DRIVES, SnowflakeWorld, snowflake_defaults, world_at
from tests.lifecycle.world import HOUR, START, events, merged
from tests.snowflake.running import Place

OPENING = ("SHOW PARAMETERS", "ALTER SESSION SET")
"""What a session asks once, when it is opened."""
RECEIPTS, ALL_RECEIPTS = "SELECT 'receipt'", "WHERE PIPELINE = ? AND KIND"
"""How the question for receipts begins, and what it holds if it is not for those of one run."""
RAISING = "stale_pipeline_handling"
"""The phase that the fence is raised for."""


def history(world: SnowflakeWorld, place: Place) -> list[dict[str, Any]]:
    """Statements of the world's workers with their tags, oldest first."""
    told = [one for one in place.server.get("/test/statements") if one["user"] == world.user and one["tag"]]
    return [one | json.loads(one["tag"]) for one in told if not one["text"].startswith(OPENING)]


def by_window(ran: list[dict[str, Any]]) -> list[list[str]]:
    """Their texts, cut where a run begins: it raises the fence."""
    cuts = [n for n, one in enumerate(ran) if (one["phase"], one["text"][:5]) == (RAISING, "MERGE")]
    return [[one["text"] for one in ran[a:b]] for a, b in pairwise([*cuts, len(ran)])]


def test_an_empty_window_takes_six_statements(place: Place, tmp_path: Path):
    """Of six windows the first has rows. In a new target are no receipts to be read, and after a round of windows
    nobody reads all of them once more."""
    windows = {"width": "1h", "end": (START + 6 * HOUR).isoformat()}
    world = world_at(place, tmp_path, {"windows": windows})
    world.write("day", events(10, every=timedelta(minutes=1)))
    world.run()
    runs = sorted(world.runs(), key=lambda run: run.window)
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 6
    assert [run.receipt.counts.inserted for run in runs] == [10, 0, 0, 0, 0, 0]
    told = history(world, place)
    first, *empty = by_window(told)
    assert [len(texts) for texts in empty] == [6] * 5, empty
    assert len(first) > 20
    asked = [ALL_RECEIPTS in one["text"] for one in told if one["text"].startswith(RECEIPTS)]
    assert asked == [False] * 6, "each run asks for its own"


def of_one_process(place: Place, folder: Path, drive: str) -> list[int]:
    """All statements of a process that finds nothing due, and of one with an empty window, sessions opened too;
    and how many more of one with two. A process before them has loaded the first window."""
    world = world_at(place, folder, {"windows": {"width": "1h"}}, drive)
    world.write("day", events(10, every=timedelta(minutes=1)))
    counted = []
    for hours in (1, 1, 2, 4):
        before = sent(world, place)
        ran(world, hours)
        counted.append(sent(world, place) - before)
    assert [run.status for run in world.runs()] == [RunStatus.COMPLETED] * 4
    _first, idle, empty, two = counted
    return [idle, empty, two - empty]


def ran(world: SnowflakeWorld, hours: int) -> None:
    """`sluiceway run`, as cron calls it, up to so many windows."""
    until = {"windows": {"end": (START + hours * HOUR).isoformat()}}
    settings = merged(merged(snowflake_defaults(world), world.settings), until)
    (world.root / "sluiceway.yaml").write_text(yaml.safe_dump(settings))
    done = process("run", folder=world.root)
    assert done.code == 0, done.err


def sent(world: SnowflakeWorld, place: Place) -> int:
    return sum(1 for one in place.server.get("/test/statements") if one["user"] == world.user)


@pytest.mark.parametrize("drive", DRIVES)
def test_a_process_of_its_own_takes_the_statements_of_the_page(place: Place, tmp_path: Path, drive: str):
    page = (Path(__file__).parents[2] / "docs" / "snowflake-statements.md").read_text()
    lines = [
        line.split("|")[1:-1] for line in page.partition("## A process of its own")[2].splitlines() if "|" in line
    ]
    columns = [line[1 + DRIVES.index(drive)].strip() for line in lines[2:]]
    assert of_one_process(place, tmp_path, drive) == [int(one) for one in columns]
