"""The heat map: windows in lines of an hour, a day, a week…, each cell with its state and how much or how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby

import msgspec

from service.admin.page.words import MARKS, UNPROVEN_SIGN, duration
from service.ledger import Entry, Fate
from service.views import number
from state.model import ValidationStatus, show_instant
from state.summary import Summary
from state.windows import Calendar, Tiling

LEVELS = 4
"""Shades of what is loaded."""
TALL = 0.95
"""The darkest shade begins at this quantile, so that one outlier does not pale all others."""
FEWEST_CELLS = 12
"""In a line; the next larger unit is taken if there would be fewer."""
LINES: Sequence[tuple[timedelta, str]] = (
    (timedelta(minutes=1), "%Y-%m-%d %H:%M"),
    (timedelta(minutes=10), "%Y-%m-%d %H:%M"),
    (timedelta(hours=1), "%Y-%m-%d %H:00"),
    (timedelta(hours=6), "%Y-%m-%d %H:00"),
    (timedelta(days=1), "%Y-%m-%d"),
    (timedelta(days=7), "%Y-%m-%d"),
)
MONDAY = datetime(1, 1, 1, tzinfo=UTC)
"""Lines are counted from here on; it is a Monday."""


class Cell(msgspec.Struct, frozen=True):
    """One window. `level` from 0 to `LEVELS` is the shade of a loaded one."""

    fate: Fate
    sign: str
    title: str
    run: str
    level: int = 0


class Line(msgspec.Struct, frozen=True):
    """A line of the map; `blank` places come before its first cell."""

    label: str
    cells: tuple[Cell, ...]
    blank: int = 0


def lines(tiling: Tiling, entries: Sequence[Entry], runs: Mapping[str, Summary], by: str) -> tuple[Line, ...]:
    """`runs` by name; `by`: what the shade tells, `rows` or `seconds`."""
    amounts = [amount(entry, runs, by) for entry in entries]
    known = sorted(value for value in amounts if value is not None)
    tall = known[int((len(known) - 1) * TALL)] if known else 0.0
    cells = [
        (entry.window.start, cell(entry, runs, value, tall)) for entry, value in zip(entries, amounts, strict=True)
    ]
    begin, label = cut(tiling)
    made = list[Line]()
    for start, group in groupby(cells, key=lambda pair: begin(pair[0])):
        inside = list(group)
        blank = 0
        if not made and isinstance(tiling.width, timedelta):
            blank = max((inside[0][0] - start) // tiling.width, 0)
        made.append(Line(start.strftime(label), tuple(one for _, one in inside), blank))
    return tuple(made)


def cut(tiling: Tiling) -> tuple[Callable[[datetime], datetime], str]:
    """Where the line of an instant begins, and how it is labelled. Calendar windows are cut by month or year."""
    width = tiling.width
    if isinstance(width, timedelta):
        for unit, label in LINES:
            if unit >= width * FEWEST_CELLS:
                return partial(_line_of, unit), label
    if width is Calendar.DAY or (isinstance(width, timedelta) and width <= timedelta(days=2)):
        return lambda at: _first(at.astimezone(tiling.zone), at.astimezone(tiling.zone).month), "%Y-%m"
    return lambda at: _first(at.astimezone(tiling.zone), 1), "%Y"


def _line_of(unit: timedelta, at: datetime) -> datetime:
    return MONDAY + (at - MONDAY) // unit * unit


def _first(at: datetime, month: int) -> datetime:
    return datetime(at.year, month, 1, tzinfo=UTC)


def amount(entry: Entry, runs: Mapping[str, Summary], by: str) -> float | None:
    """Rows or seconds of a loaded window; None for any other."""
    if entry.fate is not Fate.LOADED or entry.run not in runs:
        return None
    return runs[entry.run].seconds if by == "seconds" else float(entry.rows or 0)


def cell(entry: Entry, runs: Mapping[str, Summary], value: float | None, tall: float) -> Cell:
    """A window with all that is known of it in its title."""
    run = runs.get(entry.run)
    said = [f"{show_instant(entry.window.start)} to {show_instant(entry.window.end)}", entry.fate.value]
    if run is not None:
        said += [f"{number(entry.rows)} rows", duration(run.seconds)]
    if entry.proof:
        said.append(f"proof {entry.proof}")
    if entry.why:
        said.append(entry.why)
    doubtful = entry.fate is Fate.LOADED and entry.proof not in ("", ValidationStatus.PASSED)
    sign = UNPROVEN_SIGN if doubtful else MARKS[entry.fate].sign
    return Cell(entry.fate, sign, ", ".join(said), entry.run, level(value, tall))


def level(value: float | None, tall: float) -> int:
    """0 for nothing, then evenly up to `LEVELS` at `tall`."""
    if not value or value <= 0 or tall <= 0:
        return 0
    return min(LEVELS, 1 + int(value / tall * (LEVELS - 1) + 1e-9))
