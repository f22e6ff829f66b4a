"""Cutting a span into ranges of about so many rows, by the source's own counts.

First the whole is counted, then counted in steps; a step with too many rows is counted again in finer steps. A
step is never below a millisecond, the finest that indices count in, so an instant is never divided.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from state.model import Window

MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FEWEST_STEPS = 64
_MOST_STEPS = 8_000
"""Below the 10,000 buckets that the oldest servers allow."""
_STEPS_PER_PART = 8

Steps = Sequence[tuple[datetime, int]]
"""Start and count of each step that holds rows, in order."""
CountSteps = Callable[[Window, timedelta], Awaitable[Steps]]
"""Counts a span in steps of a length, counted from 1970 on; the first may begin before the span."""


async def cut(span: Window, rows: int, rows_per_part: int, count_steps: CountSteps) -> list[Window]:
    """Ranges that tile `span`, which holds `rows`; each with `rows_per_part` at most where instants allow it."""
    edges = await _edges(span, rows, rows_per_part, count_steps)
    bounds = [span.start, *edges, span.end]
    return [Window(start, end) for start, end in itertools.pairwise(bounds)]


async def _edges(span: Window, rows: int, rows_per_part: int, count_steps: CountSteps) -> list[datetime]:
    """Where to cut inside the span, in order."""
    step = _step(span, rows, rows_per_part)
    if rows <= rows_per_part or step is None:
        return []
    edges: list[datetime] = []
    held = 0
    for start, count in await count_steps(span, step):
        if held and held + count > rows_per_part:
            edges.append(start)
            held = 0
        held += count
        if count > rows_per_part and step > MILLISECOND:
            inner = Window(max(start, span.start), min(start + step, span.end))
            edges += await _edges(inner, count, rows_per_part, count_steps)  # what comes next is a part of its own
    return edges


def _step(span: Window, rows: int, rows_per_part: int) -> timedelta | None:
    """Whole milliseconds, such that parts come out near their size; None if the span cannot be cut."""
    if span.width <= MILLISECOND:
        return None
    parts = -(-rows // rows_per_part)
    steps = min(_MOST_STEPS, max(_FEWEST_STEPS, parts * _STEPS_PER_PART))
    return max(MILLISECOND, -(-(span.width // MILLISECOND) // steps) * MILLISECOND)


def instant(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as an instant."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
