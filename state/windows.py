"""Window arithmetic: pure functions of a passed-in instant, no clock inside.

A schedule tiles time from `start` on: fixed widths in UTC, or calendar days, weeks and months in a
named zone, where a day of a clock change is 23 or 25 hours long and the tiling still has no gap.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from state.model import Window


class Calendar(StrEnum):
    """Widths that follow the calendar of a zone rather than the clock."""

    DAY = "day"
    WEEK = "week"  # begins on Monday (ISO 8601)
    MONTH = "month"


class Tiling(msgspec.Struct, frozen=True):
    """How a pipeline's time is cut: windows of `width` from `start` on, in `zone` if calendar-based."""

    start: datetime
    width: timedelta | Calendar
    zone: ZoneInfo = ZoneInfo("UTC")

    def __post_init__(self) -> None:
        if self.start.utcoffset() != timedelta(0):
            raise ValueError("windows.start must be in UTC")
        if isinstance(self.width, timedelta):
            if self.width <= timedelta(0):
                raise ValueError("windows.width must be positive")
        elif floor(self, self.start) != self.start:
            edge = f"the start of a calendar {self.width} in {self.zone.key}"
            raise ValueError(f"windows.start {self.start.isoformat()} is not {edge}")


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_width(text: str) -> timedelta | Calendar:
    """`15m`, `1h`, `36h`, `7d` are fixed; `day`, `week`, `month` follow the calendar. Raises ValueError."""
    if text in set(Calendar):
        return Calendar(text)
    match = re.fullmatch(r"([1-9]\d{0,6})([smhd])", text)
    if not match:
        raise ValueError(f"width {text!r} is neither like 15m, 1h, 7d nor one of day, week, month")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def floor(tiling: Tiling, at: datetime) -> datetime:
    """Start of the window that holds `at`."""
    if isinstance(tiling.width, timedelta):
        return tiling.start + (at - tiling.start) // tiling.width * tiling.width
    day = at.astimezone(tiling.zone).date()
    if tiling.width is Calendar.WEEK:
        day -= timedelta(days=day.weekday())
    elif tiling.width is Calendar.MONTH:
        day = day.replace(day=1)
    return _midnight(day, tiling.zone)


def following(tiling: Tiling, start: datetime) -> datetime:
    """Start of the window after the one that starts at `start`."""
    if isinstance(tiling.width, timedelta):
        return start + tiling.width
    day = start.astimezone(tiling.zone).date()
    match tiling.width:
        case Calendar.DAY:
            day += timedelta(days=1)
        case Calendar.WEEK:
            day += timedelta(weeks=1)
        case Calendar.MONTH:
            day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return _midnight(day, tiling.zone)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """First instant of a local day. Where midnight does not exist, the clock jumps over it: same instant."""
    return datetime.combine(day, time(0), zone).astimezone(UTC)


def tiles(tiling: Tiling, until: datetime, *, after: datetime | None = None) -> Iterator[Window]:
    """Windows that end at or before `until`, oldest first, from `tiling.start` or the edge `after` on."""
    start = tiling.start if after is None else after
    while (end := following(tiling, start)) <= until:
        yield Window(start, end)
        start = end


def due(
    tiling: Tiling, known: Iterable[Window], now: datetime, lag: timedelta, limit: int | None = None
) -> list[Window]:
    """Windows that are closed (`end <= now - lag`) and not yet `known`, oldest first, `limit` at most.

    `now` is the source's clock, `lag` the safety lag.
    """
    seen = set(known)
    found: list[Window] = []
    for window in tiles(tiling, now - lag):
        if limit is not None and len(found) >= limit:
            break
        if window not in seen:
            found.append(window)
    return found


def gaps(covered: Iterable[Window], within: Window) -> list[Window]:
    """Parts of `within` that no window of `covered` holds, in order."""
    missing: list[Window] = []
    edge = within.start
    for window in sorted(covered):
        if window.start > edge:
            if window.start >= within.end:
                break
            missing.append(Window(edge, window.start))
        edge = max(edge, window.end)
    if edge < within.end:
        missing.append(Window(edge, within.end))
    return missing


def overlaps(windows: Sequence[Window]) -> list[tuple[Window, Window]]:
    """Neighbouring pairs, by start, that share an instant."""
    ordered = sorted(windows)
    return [(a, b) for a, b in itertools.pairwise(ordered) if a.overlaps(b)]


def split(window: Window, pieces: int) -> list[Window]:
    """`window` cut into at most `pieces` spans of equal length, to the microsecond, without gaps."""
    total = window.width // timedelta(microseconds=1)
    pieces = max(1, min(pieces, total))
    edges = [window.start + timedelta(microseconds=total * i // pieces) for i in range(pieces)] + [window.end]
    return [Window(a, b) for a, b in itertools.pairwise(edges)]
