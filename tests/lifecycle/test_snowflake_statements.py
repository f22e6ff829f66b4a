"""What a window takes of Snowflake through the whole service: the sum of docs/snowflake-statements.md."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from state.model import RunStatus
from tests.lifecycle.snowflake_world import SnowflakeWorld, world_at
from tests.lifecycle.world import HOUR, START, events
from tests.snowflake.running import Place

OPENING = ("SHOW PARAMETERS", "ALTER SESSION SET")
"""What a session asks once, when it is opened."""
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
    """Of six windows the first has rows. After the last one the worker looks for receipts once more."""
    windows = {"width": "1h", "end": (START + 6 * HOUR).isoformat()}
    world = world_at(place, tmp_path, {"windows": windows})
    world.write("day", events(10, every=timedelta(minutes=1)))
    world.run()
    runs = sorted(world.runs(), key=lambda run: run.window)
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 6
    assert [run.receipt.counts.inserted for run in runs] == [10, 0, 0, 0, 0, 0]
    first, *empty, last = by_window(history(world, place))
    assert [len(texts) for texts in empty] == [6] * 4, empty
    assert len(last) <= 7
    assert len(first) > 20
