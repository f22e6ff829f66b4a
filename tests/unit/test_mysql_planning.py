"""Where a span of a MySQL source is cut, by a walk along the index of its cursor."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from connectors.mysql.planning import walked
from state.model import Window
from tests.contract.connector import HOUR, START

SECOND = timedelta(seconds=1)
SPAN = Window(START, START + HOUR)


async def cut(seconds: list[int], rows_per_part: int) -> tuple[list[int], int]:
    """Rows of each part, and the questions asked, for rows at these seconds of the span."""
    rows = sorted(START + second * SECOND for second in seconds)
    asked = 0

    async def row_at(span: Window, number: int) -> datetime | None:
        nonlocal asked
        asked += 1
        held = [at for at in rows if span.start <= at < span.end]
        return held[number] if number < len(held) else None

    parts = await walked(SPAN, rows_per_part, row_at, finest=SECOND)
    assert (parts[0].start, parts[-1].end) == (SPAN.start, SPAN.end)
    assert all(before.end == after.start for before, after in pairwise(parts))
    return [sum(part.start <= at < part.end for at in rows) for part in parts], asked


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [
        ([], [0]),
        (list(range(3)), [3]),
        (list(range(4)), [3, 1]),
        (list(range(7)), [3, 3, 1]),
        ([0] * 4, [4]),
        ([0] * 5 + [1, 2], [5, 2]),
        ([5] * 4 + [6], [0, 4, 1]),
        ([1, 2, 5, 5, 6, 6], [2, 2, 2]),
        ([1, 5, 5, 5, 5, 5, 6], [1, 5, 1]),
        ([3599] * 5, [0, 5]),
        ([1, 3599, 3599, 3599, 3599], [1, 4]),
    ],
)
async def test_each_part_is_full_and_a_crowd_is_a_part_of_its_own(seconds, sizes):
    assert (await cut(seconds, 3))[0] == sizes


async def test_a_span_that_is_one_part_costs_one_question():
    assert await cut(list(range(10)), 10) == ([10], 1)
