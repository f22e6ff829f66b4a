"""Cutting a span into parts by the source's own counts, without passing over the whole table for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from connectors.cursor import MICROSECOND
from connectors.cutting import cut, first_width, next_width
from state.model import Window

Cells = Callable[[Window, int], Awaitable[Mapping[int, int]]]
"""Rows of a span by cell, so many microseconds wide and numbered from the span's start."""


async def parts(span: Window, rows: int, rows_per_part: int, cells: Cells, *, finest: int) -> Sequence[Window]:
    """Ranges that tile `span`, which holds `rows`. `finest`: microseconds that the cursor tells apart.

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
            if held > rows_per_part and width > finest:
                over.append((Window(start, min(start + width * MICROSECOND, inner.end)), next_width(width)))
            else:
                counts[(start - span.start) // MICROSECOND] = held
    return list(cut(span, counts, rows_per_part))
