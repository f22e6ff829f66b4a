"""Window arithmetic: pure functions of a passed-in instant, no clock inside.

A schedule tiles time from `start` on: fixed widths in UTC, or calendar days, weeks and months in a
named zone, where a day of a clock change is 23 or 25 hours long and the tiling still has no gap.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left, bisect_right
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
    start = _midnight(day, tiling.zone)
    # where a clock once went back from just after midnight, the day before was shown again inside the new day
    later = following(tiling, start)
    return later if later <= at else start


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


def newest(tiling: Tiling, until: datetime) -> Window | None:
    """The last window that ends at or before `until`; None if there is none."""
    edge = floor(tiling, max(until, tiling.start))
    if edge == tiling.start:
        return None
    return Window(floor(tiling, edge - timedelta(microseconds=1)), edge)


def due(
    tiling: Tiling,
    known: Iterable[Window],
    until: datetime,
    *,
    busy: Iterable[Window] = (),
    within: Window | None = None,
    limit: int | None = None,
) -> list[Window]:
    """Windows inside `within` that are closed (`end <= until`), not `known` and free of `busy`, oldest first.

    `busy`: spans that do not overlap each other; a window that shares an instant with one is left out.
    """
    seen, taken = set(known), sorted(busy)
    last = until if within is None else min(until, within.end)
    after = None if within is None else floor(tiling, max(tiling.start, within.start))
    found = (
        window
        for window in tiles(tiling, last, after=after)
        if window not in seen and (within is None or within.covers(window)) and is_free(window, taken)
    )
    return list(itertools.islice(found, limit))


def is_free(window: Window, taken: Sequence[Window]) -> bool:
    """True if no span of `taken`, sorted and without overlaps, shares an instant with `window`."""
    place = bisect_left(taken, window.end, key=start_of)  # the last that starts before the end ends last, too
    return place == 0 or not taken[place - 1].overlaps(window)


def start_of(window: Window) -> datetime:
    return window.start


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


def reaches_into(gaps: Sequence[Window], window: Window) -> bool:
    """True if one of `gaps`, in order and apart from each other, shares an instant with `window`."""
    first = bisect_right(gaps, window.start, key=lambda gap: gap.end)
    return first < len(gaps) and gaps[first].start < window.end


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
