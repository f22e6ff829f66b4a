"""Where a span is cut into parts, from the number of rows in its cells. Pure arithmetic.

Cells are counted from the span's start. A first look counts wide ones; those that hold more rows than a part are
looked at again in finer ones, down to one microsecond, which is never divided.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from connectors.cursor import MICROSECOND
from state.model import Window

WIDTHS = (1, 1_000, 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000)
"""Microseconds of a cell: each divides the next, and people can read them."""
CELLS = 20_000
"""Cells of the first look, at most: an hour is counted by seconds, a year by hours."""
FINER_CELLS = 4_000
"""Cells that an over-full one is looked at in, at most."""


def first_width(span: Window) -> int:
    """Microseconds of a cell at the first look; a day where even that gives too many."""
    return _finest(span.width // MICROSECOND, CELLS)


def next_width(width: int) -> int:
    """Microseconds of a cell at a finer look."""
    return _finest(width, FINER_CELLS)


def _finest(micros: int, cells: int) -> int:
    return next((width for width in WIDTHS if micros <= width * cells), WIDTHS[-1])


def cut(span: Window, cells: Mapping[int, int], rows_per_part: int) -> dict[Window, int]:
    """`span` in ranges that tile it, in order, each with its number of rows.

    `cells`: start in microseconds since the span's → rows; only a single microsecond may be over-full.
    """
    edges, counts = [span.start], [0]
    for at, rows in sorted(cells.items()):
        if counts[-1] and counts[-1] + rows > rows_per_part:
            edges.append(span.start + at * MICROSECOND)
            counts.append(0)
        counts[-1] += rows
    parts = (Window(start, end) for start, end in itertools.pairwise([*edges, span.end]))
    return dict(zip(parts, counts, strict=True))
