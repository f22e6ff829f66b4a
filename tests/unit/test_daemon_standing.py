"""What a daemon knows of a ledger: no window is lost or opened twice, and it stays small."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from service.config import parse_config
from service.daemon.standing import Standing
from service.settings import PipelineConfig
from state.model import Run, RunId, RunKind, RunStatus, Window
from state.windows import tiles
from tests.lifecycle.world import START, defaults, merged

HOUR = timedelta(hours=1)
CALENDAR = datetime(2025, 10, 24, 22, tzinfo=UTC)
"""Midnight in Berlin, two days before its clocks go back."""


def config(width: str = "1h", start: datetime = START, zone: str = "UTC") -> PipelineConfig:
    windows = {"windows": {"width": width, "start": start.isoformat(), "timezone": zone, "end": None}}
    return parse_config(merged(defaults(Path("/nowhere")), windows))


def run(window: Window, status: RunStatus = RunStatus.PENDING, number: int = 1) -> Run:
    return Run(RunId("drive", "events", window, number), "", RunKind.SCHEDULED, window.start, START, status)


def window(start: float, end: float) -> Window:
    return Window(START + start * HOUR, START + end * HOUR)


class Model:
    """The same, by a plain look at everything."""

    def __init__(self, tiling) -> None:
        self.tiling, self.known, self.unfinished = tiling, set(), set()

    def due(self, closed: datetime, limit: int) -> list[Window]:
        free = [
            one
            for one in tiles(self.tiling, closed)
            if one not in self.known and not any(one.overlaps(other) for other in self.unfinished)
        ]
        return free[:limit]


SPANS = st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda at: (at[0] / 4, (at[0] + at[1]) / 4))
ACTS = st.one_of(
    st.tuples(st.just("look"), st.integers(0, 3), st.integers(1, 4)),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("backfill"), SPANS),
    st.tuples(st.just("replace")),
)


@given(begun=st.sets(st.integers(0, 9)), open_=st.sets(st.integers(0, 9)), acts=st.lists(ACTS, max_size=40))
def test_every_window_is_opened_once_whatever_was_known_and_whatever_is_backfilled(begun, open_, acts):
    """S-3, S-7 (G-3): against a plain model, with windows that are known from before in any order, and backfills
    whose edges are those of no window."""
    tiling = config().windows.tiling()
    model = Model(tiling)
    model.known = {window(n, n + 1) for n in begun | open_}
    model.unfinished = {window(n, n + 1) for n in open_}
    standing = Standing(config(), set(model.known), [run(one) for one in model.unfinished])
    opened: list[Window] = []
    closed = START
    for act in acts:
        match act:
            case ("look", hours, limit):
                closed += hours * HOUR / 2
                found = standing.due(closed, limit)
                assert found == model.due(closed, limit)
                for one in found:
                    standing.note(run(one))
                opened += found
                model.known.update(found)
                model.unfinished.update(found)
            case ("end", which) if model.unfinished:
                one = sorted(model.unfinished)[which % len(model.unfinished)]
                standing.note(run(one, RunStatus.COMPLETED))
                model.unfinished.discard(one)
            case ("backfill", (start, end)):
                one = window(start, end)
                if one.end <= closed and not any(one.overlaps(other) for other in model.unfinished):
                    standing.note(run(one))
                    model.known.add(one)
                    model.unfinished.add(one)
            case ("replace",):
                standing.asking()
                standing.replace([run(one) for one in model.unfinished])
        assert sorted(r.window for r in standing.unfinished) == sorted(model.unfinished)
        assert all(standing.has_run(one) for one in model.known)
    for one in sorted(model.unfinished):
        standing.note(run(one, RunStatus.COMPLETED))
    model.unfinished.clear()
    opened += standing.due(closed, 1000)
    assert len(opened) == len(set(opened))
    assert {*tiles(tiling, closed)} <= model.known | set(opened)


def test_a_backfill_that_ends_inside_the_open_window_does_not_lose_it():
    standing = Standing(config(), [], [])
    for one in standing.due(START + 2 * HOUR, 10):
        standing.note(run(one, RunStatus.COMPLETED))
    standing.note(run(window(2, 2.5), RunStatus.COMPLETED))
    assert standing.due(START + 2.5 * HOUR, 10) == []
    assert standing.due(START + 3 * HOUR, 10) == [window(2, 3)]


def test_days_of_a_clock_change_follow_each_other_without_gap_or_overlap():
    """Case 13."""
    standing = Standing(config("day", CALENDAR, "Europe/Berlin"), [], [])
    found, now = [], CALENDAR
    for _ in range(24 * 6):
        now += HOUR
        for one in standing.due(now, 5):
            standing.note(run(one, RunStatus.COMPLETED))
            found.append(one)
    assert [one.width // HOUR for one in found] == [24, 25, 24, 24, 24]
    assert all(a.end == b.start for a, b in pairwise(found))


def test_a_month_of_minutes_is_remembered_in_a_few_windows():
    """S-7: memory does not grow with the age of a pipeline, nor does a long catch-up look at it all each time."""
    standing = Standing(config("1m"), [], [])
    now = START + timedelta(days=30)
    while found := standing.due(now, 25):
        for one in found:
            standing.note(run(one, RunStatus.COMPLETED))
        assert len(standing._known) <= 50
    assert standing.unfinished == []
    assert len(standing._known) == 0
    assert standing.loaded_until([]) == now


def test_a_run_that_ends_while_the_drive_table_is_asked_stays_ended():
    standing = Standing(config(), [window(0, 1)], [run(window(0, 1), RunStatus.RUNNING)])
    standing.asking()
    standing.note(run(window(0, 1), RunStatus.COMPLETED))
    standing.replace([run(window(0, 1), RunStatus.RUNNING)])
    assert standing.unfinished == []


def test_freshness_is_the_start_of_the_oldest_window_that_is_not_done():
    standing = Standing(config(), [], [])
    assert standing.loaded_until([window(0, 1)]) is None
    standing.note(run(window(0, 1), RunStatus.COMPLETED))
    standing.note(run(window(1, 2), RunStatus.FAILED))
    standing.note(run(window(2, 3), RunStatus.COMPLETED))
    assert standing.loaded_until([]) == START + HOUR
    assert standing.oldest_open([window(3, 4)]) == START + 2 * HOUR
    standing.note(run(window(1, 2), RunStatus.COMPLETED))
    assert standing.loaded_until([]) == START + 3 * HOUR
    assert standing.oldest_open([]) is None
