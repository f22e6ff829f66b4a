"""Cutting a span into parts by the source's own counts, without passing over the whole table for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

from connectors.cursor import MICROSECOND
from connectors.cutting import cut, first_width, next_width
from state.model import Window

Cells = Callable[[Window, int], Awaitable[Mapping[int, int]]]
"""Rows of a span by cell, so many microseconds wide and numbered from the span's start."""
RowAt = Callable[[Window, int], Awaitable[datetime | None]]
"""The instant of a span's row of this number, counted from 0 in the order of the cursor; None if there is none."""


async def walked(span: Window, rows_per_part: int, row_at: RowAt, *, finest: timedelta) -> Sequence[Window]:
    """Ranges that tile `span`, each full but the last, found by one walk along the index of the cursor.

    `finest`: what the cursor tells apart. An instant with more rows than a part is a part of its own.
    """
    parts: list[Window] = []
    rest = span
    while (at := await row_at(rest, rows_per_part)) is not None:
        if at == rest.start:
            beyond = at + finest
            at = await row_at(Window(beyond, span.end), 0) if beyond < span.end else None
        if at is None:
            break
        parts.append(Window(rest.start, at))
        rest = Window(at, span.end)
    return [*parts, rest]


async def counted(
    span: Window, rows: int, rows_per_part: int, cells: Cells, *, finest: timedelta
) -> Sequence[Window]:
    """Ranges that tile `span`, which holds `rows`, where there is no index of the cursor to walk along.

    The span is counted in cells, and each that holds more than a part again in finer ones.
    """
    if rows <= rows_per_part:
        return [span]
    counts: dict[int, int] = {}
    over = [(span, first_width(span))]
    while over:
        inner, width = over.pop()
        for cell, held in (await cells(inner, width)).items():
            start = inner.start + cell * width * MICROSECOND
            if held > rows_per_part and width * MICROSECOND > finest:
                over.append((Window(start, min(start + width * MICROSECOND, inner.end)), next_width(width)))
            else:
                counts[(start - span.start) // MICROSECOND] = held
    return list(cut(span, counts, rows_per_part))
