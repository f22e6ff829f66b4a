"""Window arithmetic: G-11 (tiling), G-12 (the source's clock), fault row 13 (clock changes)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.model import Window
from state.windows import Calendar, Tiling, floor, following, gaps, overlaps, parse_width, split, tiles

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kolkata"]

instants = st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))


@given(start=instants, calendar=st.sampled_from(list(Calendar)), zone=st.sampled_from(ZONES))
def test_calendar_windows_tile_without_gap_in_every_zone_g11(start, calendar, zone):
    first = floor(_calendar(calendar, zone), start)
    windows = list(islice(tiles(Tiling(first, calendar, ZoneInfo(zone)), datetime(2099, 1, 1, tzinfo=UTC)), 40))
    assert len(windows) == 40
    assert all(a.end == b.start for a, b in pairwise(windows))
    assert windows[0].start <= start < following(_calendar(calendar, zone), first)


def _calendar(calendar: Calendar, zone: str) -> Tiling:
    midnight = datetime(2001, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)  # a Monday and a first of month
    return Tiling(midnight, calendar, ZoneInfo(zone))


def test_day_of_a_clock_change_is_23_or_25_hours_row13():
    berlin = ZoneInfo("Europe/Berlin")
    days = Tiling(datetime(2026, 3, 27, 23, tzinfo=UTC), Calendar.DAY, berlin)
    widths = [w.width / HOUR for w in tiles(days, datetime(2026, 3, 31, tzinfo=UTC))]
    assert widths == [24, 23, 24]
    autumn = Tiling(datetime(2026, 10, 23, 22, tzinfo=UTC), Calendar.DAY, berlin)
    assert [w.width / HOUR for w in tiles(autumn, datetime(2026, 10, 27, tzinfo=UTC))] == [24, 25, 24]


@given(start=instants, minutes=st.integers(1, 3000), offset=st.integers(0, 10**9))
def test_floor_holds_its_instant(start, minutes, offset):
    tiling = Tiling(start, timedelta(minutes=minutes))
    at = start + timedelta(seconds=offset)
    low = floor(tiling, at)
    assert low <= at < following(tiling, low)


@given(cuts=st.lists(st.integers(1, 99), unique=True), hidden=st.sets(st.integers(0, 40)))
def test_gaps_and_cover_make_the_whole(cuts, hidden):
    edges = [T0 + timedelta(minutes=m) for m in sorted({0, 100, *cuts})]
    spans = [Window(a, b) for a, b in pairwise(edges)]
    covered = [w for i, w in enumerate(spans) if i not in hidden]
    whole = Window(edges[0], edges[-1])
    found = gaps(covered, whole)
    pieces = sorted([*covered, *found])
    assert pieces[0].start == whole.start and pieces[-1].end == whole.end
    assert all(a.end == b.start for a, b in pairwise(pieces))
    assert overlaps(pieces) == []


@given(micros=st.integers(1, 10**12), pieces=st.integers(1, 50))
def test_split_tiles_to_the_microsecond(micros, pieces):
    window = Window(T0, T0 + timedelta(microseconds=micros))
    found = split(window, pieces)
    assert found[0].start == window.start and found[-1].end == window.end
    assert len(found) == min(pieces, micros)
    assert all(a.end == b.start for a, b in pairwise(found))


def test_overlaps_are_named():
    a, b = Window(T0, T0 + 2 * HOUR), Window(T0 + HOUR, T0 + 3 * HOUR)
    assert overlaps([b, a]) == [(a, b)]


@pytest.mark.parametrize(
    ("text", "width"), [("15m", timedelta(minutes=15)), ("7d", timedelta(days=7)), ("month", Calendar.MONTH)]
)
def test_widths(text, width):
    assert parse_width(text) == width


@pytest.mark.parametrize("text", ["", "0h", "1.5h", "-1h", "1w", "hourly", "1 h"])
def test_bad_widths_name_the_choices(text):
    with pytest.raises(ValueError, match="15m, 1h, 7d"):
        parse_width(text)


def test_calendar_start_must_be_an_edge():
    with pytest.raises(ValueError, match="not the start of a calendar day in Europe/Berlin"):
        Tiling(T0, Calendar.DAY, ZoneInfo("Europe/Berlin"))


def test_windows_refuse_naive_and_empty():
    with pytest.raises(ValueError, match="start must be in UTC"):
        Window(datetime(2026, 1, 1), T0)
    with pytest.raises(ValueError, match="must be after start"):
        Window(T0, T0)
