"""Window arithmetic against oracles that were written another way (G-11, G-12, fault row 13).

Calendars: the oracle looks at the wall clock of the zone, instant by instant, and notes when a day, week or month
shows itself for the first time. Everything else: windows as sets of whole minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from state import windows
from state.model import Window
from state.windows import Calendar, Tiling, due, floor, following, gaps, newest, overlaps, split, tiles

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)

JUMPS = [
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/Sao_Paulo", date(2018, 11, 4)),  # midnight does not exist
    ("America/Sao_Paulo", date(2018, 2, 18)),  # the last hour of a day comes twice
    ("America/Havana", date(2026, 11, 1)),  # the first hour of a day comes twice
    ("America/St_Johns", date(2006, 10, 29)),  # one minute of a day, then the day before once more
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # half an hour
    ("Asia/Beirut", date(2023, 3, 30)),
    ("Africa/Cairo", date(2026, 4, 24)),
    ("Africa/Monrovia", date(1972, 1, 7)),  # 44 minutes and 30 seconds
    ("Pacific/Apia", date(2011, 12, 30)),  # this day was skipped
    ("Pacific/Kwajalein", date(1993, 8, 21)),  # and this one
    ("Asia/Kolkata", date(2026, 2, 28)),
    ("UTC", date(2024, 2, 29)),
]
KEYS: dict[Calendar, Callable[[date], object]] = {
    Calendar.DAY: lambda day: day,
    Calendar.WEEK: lambda day: day.isocalendar()[:2],
    Calendar.MONTH: lambda day: (day.year, day.month),
}
SPANS = {Calendar.DAY: 6 * DAY, Calendar.WEEK: 25 * DAY, Calendar.MONTH: 80 * DAY}


def wall(at: datetime, zone: ZoneInfo) -> tuple[date, timedelta | None]:
    local = at.astimezone(zone)
    return local.date(), local.utcoffset()


def first_shown(zone: ZoneInfo, calendar: Calendar, start: datetime, end: datetime) -> list[datetime]:
    """Instants in `[start, end)` at which a new unit of the calendar shows itself for the first time."""
    found, latest, at = [], wall(start, zone)[0], start
    while at < end:
        step = HOUR if wall(at, zone) == wall(at + HOUR, zone) else timedelta(seconds=30)
        at += step
        day = wall(at, zone)[0]
        if day > latest:
            if KEYS[calendar](day) != KEYS[calendar](latest):
                found.append(at)
            latest = day
    return found


@given(jump=st.sampled_from(JUMPS), offset=st.integers(-5, 5), calendar=st.sampled_from(list(Calendar)))
@example(("Pacific/Apia", date(2011, 12, 30)), -2, Calendar.DAY)
@example(("Pacific/Apia", date(2011, 12, 30)), -5, Calendar.MONTH)
@example(("America/Sao_Paulo", date(2018, 11, 4)), -1, Calendar.DAY)
@example(("America/St_Johns", date(2006, 10, 29)), -1, Calendar.WEEK)
def test_calendar_edges_are_when_a_unit_first_shows_on_the_clock_row13(jump, offset, calendar):
    name, day = jump
    zone = ZoneInfo(name)
    start = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + offset * DAY
    edges = first_shown(zone, calendar, start, start + SPANS[calendar])
    assert len(edges) >= 2
    found = [window.start for window in islice(tiles(Tiling(edges[0], calendar, zone), edges[-1]), len(edges))]
    assert [*found, edges[-1]] == edges


def test_a_skipped_day_has_no_window_and_leaves_no_gap_row13():
    apia = Tiling(datetime(2011, 12, 29, 10, tzinfo=UTC), Calendar.DAY, ZoneInfo("Pacific/Apia"))
    days = list(islice(tiles(apia, T0), 3))
    local = [window.start.astimezone(apia.zone).date().day for window in days]
    assert local == [29, 31, 1]
    assert all(a.end == b.start for a, b in pairwise(days))


@given(
    jump=st.sampled_from(JUMPS),
    minutes=st.integers(-3000, 3000),
    calendar=st.sampled_from(list(Calendar)),
)
@example(("America/St_Johns", date(2006, 10, 29)), 151, Calendar.DAY)
@example(("America/St_Johns", date(2006, 10, 29)), 150, Calendar.DAY)
def test_the_window_of_an_instant_holds_it_on_every_clock_row13(jump, minutes, calendar):
    name, day = jump
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) + minutes * MINUTE
    tiling = calendar_of(calendar, ZoneInfo(name))
    start = floor(tiling, at)
    assert start <= at < following(tiling, start)
    assert floor(tiling, start) == start


def calendar_of(calendar: Calendar, zone: ZoneInfo) -> Tiling:
    """A tiling that begins on 1 January 2001, a Monday, local time."""
    monday = datetime(2001, 1, 1, tzinfo=zone).astimezone(UTC)
    return Tiling(monday, calendar, zone)


@given(
    start=st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1)),
    width=st.integers(1, 10**13),
    offset=st.integers(0, 10**15),
)
def test_fixed_windows_are_whole_multiples_of_their_width_g11(start, width, offset):
    tiling = Tiling(start.replace(tzinfo=UTC), timedelta(microseconds=width))
    until = tiling.start + timedelta(microseconds=offset)
    number = offset // width
    assert floor(tiling, until) == tiling.start + timedelta(microseconds=number * width)
    first = max(0, number - 3)
    after = tiling.start + timedelta(microseconds=first * width)
    edges = [tiling.start + timedelta(microseconds=n * width) for n in range(first, number + 1)]
    assert list(tiles(tiling, until, after=after)) == [Window(a, b) for a, b in pairwise(edges)]


def span(minutes: tuple[int, int]) -> Window:
    return Window(T0 + minutes[0] * MINUTE, T0 + minutes[1] * MINUTE)


def minutes_of(window: Window) -> set[int]:
    """The whole minutes of a window."""
    return set(range((window.start - T0) // MINUTE, (window.end - T0) // MINUTE))


spans = st.tuples(st.integers(-50, 300), st.integers(1, 120)).map(lambda pair: span((pair[0], pair[0] + pair[1])))
apart = st.lists(st.integers(-50, 400), unique=True, max_size=12).map(
    lambda edges: [span(pair) for pair in list(pairwise(sorted(edges)))[::2]]
)


@given(
    grid=st.tuples(st.integers(1, 60), st.integers(-10, 300)),
    unknown=st.sets(st.integers(0, 300)),
    busy=apart,
    within=st.none() | spans,
    limit=st.none() | st.integers(0, 9),
)
def test_due_windows_are_closed_unknown_free_and_inside_g12(grid, unknown, busy, within, limit):
    width, until = grid
    tiling = Tiling(T0, width * MINUTE)
    closed = [span((n * width, (n + 1) * width)) for n in range(300) if (n + 1) * width <= until]
    taken = set().union(*map(minutes_of, busy))
    wanted = [
        window
        for number, window in enumerate(closed)
        if number in unknown
        and not minutes_of(window) & taken
        and (within is None or minutes_of(window) <= minutes_of(within))
    ]
    known = [window for number, window in enumerate(closed) if number not in unknown]
    found = due(tiling, known, T0 + until * MINUTE, busy=busy, within=within, limit=limit)
    assert found == wanted[:limit]


@given(width=st.integers(1, 60), until=st.integers(-10, 300))
def test_the_newest_window_is_the_last_that_is_closed(width, until):
    closed = [span((n * width, (n + 1) * width)) for n in range(300) if (n + 1) * width <= until]
    assert newest(Tiling(T0, width * MINUTE), T0 + until * MINUTE) == (closed[-1] if closed else None)


@given(
    jump=st.sampled_from([jump for jump in JUMPS if jump[1].year > 2001]),
    minutes=st.integers(-3000, 3000),
    calendar=st.sampled_from(list(Calendar)),
)
@example(("America/St_Johns", date(2006, 10, 29)), 151, Calendar.DAY)
def test_the_newest_window_of_a_calendar_ends_where_the_open_one_begins_row13(jump, minutes, calendar):
    name, day = jump
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) + minutes * MINUTE
    tiling = calendar_of(calendar, ZoneInfo(name))
    last = newest(tiling, at)
    assert last is not None
    assert (last.end, following(tiling, last.start)) == (floor(tiling, at), last.end)


@given(covered=st.lists(spans, max_size=10), within=spans)
def test_gaps_are_the_minutes_that_nothing_covers_g11(covered, within):
    found = gaps(covered, within)
    uncovered = minutes_of(within) - set().union(*map(minutes_of, covered))
    assert set().union(*map(minutes_of, found)) == uncovered
    assert all(a.end < b.start for a, b in pairwise(found)), "gaps that touch are one gap"


@given(found=st.lists(spans, max_size=8))
def test_overlaps_are_found_if_there_are_any_g11(found):
    shared = any(minutes_of(a) & minutes_of(b) for n, a in enumerate(found) for b in found[:n])
    assert bool(overlaps(found)) == shared


@given(micros=st.integers(1, 10**15), pieces=st.integers(1, 40))
def test_split_pieces_differ_by_a_microsecond_at_most(micros, pieces):
    found = split(Window(T0, T0 + timedelta(microseconds=micros)), pieces)
    widths = [piece.width // timedelta(microseconds=1) for piece in found]
    assert sum(widths) == micros
    assert max(widths) - min(widths) <= 1
    assert len(widths) == min(pieces, micros)
    assert found[0].start == T0
    assert all(a.end == b.start for a, b in pairwise(found))


@pytest.fixture
def looks(monkeypatch):
    """Counts how often two spans are compared, and how many windows are made."""
    counted = {"overlaps": 0, "tiles": 0}
    overlaps_of, tiles_of = Window.overlaps, windows.tiles

    def counting_overlaps(self, other):
        counted["overlaps"] += 1
        return overlaps_of(self, other)

    def counting_tiles(*args, **more):
        for window in tiles_of(*args, **more):
            counted["tiles"] += 1
            yield window

    monkeypatch.setattr(Window, "overlaps", counting_overlaps)
    monkeypatch.setattr(windows, "tiles", counting_tiles)
    return counted


def test_ten_years_of_hours_are_looked_at_once_each(looks):
    tiling = Tiling(T0, HOUR)
    until = T0 + 87_648 * HOUR
    everything = list(tiles(tiling, until))
    found = due(tiling, [], until, busy=everything[::2])
    assert len(found) == len(everything) // 2
    assert looks["overlaps"] <= len(everything)
    assert looks["tiles"] == len(everything)


def test_a_limit_ends_the_look(looks):
    tiling = Tiling(T0, HOUR)
    assert len(due(tiling, [], T0 + 87_648 * HOUR, limit=100)) == 100
    assert looks["tiles"] <= 101


def test_a_span_far_from_the_start_is_looked_at_alone(looks):
    late = Window(T0 + 80_000 * HOUR, T0 + 80_005 * HOUR)
    assert len(due(Tiling(T0, HOUR), [], T0 + 87_648 * HOUR, within=late)) == 5
    assert looks["tiles"] == 5
