"""Cutting a span by the source's own counts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connectors.elasticsearch.planning import MILLISECOND, cut, instant
from connectors.elasticsearch.queries import Query, histogram
from state.errors import ConfigurationError, RestartAttempt, TransientError
from state.model import Window
from tests.unit.search_script import DAY, SPAN, SearchScript, connected, documents, refusal

HOUR = timedelta(hours=1)


class Counted:
    """Counts instants in steps from 1970 on, as a server does; `asked`: how often."""

    def __init__(self, instants: list[datetime]) -> None:
        self.instants = instants
        self.asked = 0

    async def steps(self, span: Window, step: timedelta) -> list[tuple[datetime, int]]:
        self.asked += 1
        counts: dict[datetime, int] = {}
        for at in self.instants:
            if span.start <= at < span.end:
                start = instant(0) + (at - instant(0)) // step * step
                counts[start] = counts.get(start, 0) + 1
        return sorted(counts.items())

    def rows(self, span: Window) -> int:
        return sum(span.start <= at < span.end for at in self.instants)

    def cut(self, span: Window, rows_per_part: int) -> list[Window]:
        return asyncio.run(cut(span, self.rows(span), rows_per_part, self.steps))


def require_tiling(parts: list[Window], span: Window) -> None:
    assert parts[0].start == span.start
    assert parts[-1].end == span.end
    assert all(a.end == b.start for a, b in pairwise(parts))


milliseconds = st.integers(-2 * 86_400_000, 3 * 86_400_000)


@given(
    st.lists(milliseconds | st.sampled_from([0, 1, 86_399_999, 86_400_000]), max_size=60),
    st.integers(1, 20),
    st.integers(1, 86_400_000),
)
@hypothesis_settings(deadline=None)
def test_parts_tile_the_span_and_hold_what_was_asked_unless_an_instant_holds_more(offsets, rows_per_part, width):
    span = Window(DAY, DAY + timedelta(milliseconds=width))
    source = Counted([DAY + timedelta(milliseconds=offset) for offset in offsets])
    parts = source.cut(span, rows_per_part)
    require_tiling(parts, span)
    for part in parts:
        instants = {at for at in source.instants if part.start <= at < part.end}
        assert source.rows(part) <= rows_per_part or len(instants) == 1, "an instant is never divided"
    if len(parts) > 1:
        assert all(source.rows(part) for part in parts), "no part is empty beside others"


def test_an_empty_span_gives_one_range():
    assert Counted([]).cut(SPAN, 10) == [SPAN]


def test_rows_that_fit_are_one_range_without_a_question():
    source = Counted([DAY] * 10)
    assert source.cut(SPAN, 10) == [SPAN]
    assert source.asked == 0


def test_evenly_spread_rows_are_cut_evenly_with_one_question():
    source = Counted([DAY + timedelta(seconds=n) for n in range(86_400)])
    parts = source.cut(SPAN, 10_000)
    require_tiling(parts, SPAN)
    assert source.asked == 1
    assert 9 <= len(parts) <= 11
    assert min(source.rows(part) for part in parts[:-1]) > 7_000


def test_a_crowded_minute_is_found_with_few_questions():
    crowd = [DAY + HOUR + timedelta(milliseconds=n) for n in range(5_000)]
    source = Counted([*crowd, *(DAY + timedelta(minutes=n) for n in range(1_440))])
    parts = source.cut(SPAN, 500)
    require_tiling(parts, SPAN)
    assert max(source.rows(part) for part in parts) <= 500
    assert source.asked <= 4


def test_one_instant_with_too_many_rows_stays_whole_e8():
    source = Counted([DAY + HOUR] * 10_000 + [DAY, DAY + 2 * HOUR])
    parts = source.cut(SPAN, 100)
    require_tiling(parts, SPAN)
    assert max(source.rows(part) for part in parts) in (10_000, 10_001)
    assert source.asked <= 5


def test_a_span_of_a_millisecond_is_not_cut():
    span = Window(DAY, DAY + MILLISECOND)
    source = Counted([DAY] * 50)
    assert source.cut(span, 10) == [span]
    assert source.asked == 0


@pytest.mark.parametrize("year", [1, 1969, 2025, 9999])
def test_any_year_can_be_cut(year):
    start = datetime(year, 6, 1, tzinfo=UTC)
    source = Counted([start + timedelta(seconds=n) for n in range(1_000)])
    span = Window(start, start + HOUR)
    parts = source.cut(span, 100)
    require_tiling(parts, span)
    assert max(source.rows(part) for part in parts) <= 100


def test_steps_are_whole_milliseconds_and_empty_ones_are_left_out():
    query = Query("at", None, MILLISECOND)
    body = histogram(query.of(SPAN), query.field, timedelta(milliseconds=86_400_000 // 64))
    assert body["aggs"]["steps"]["date_histogram"] == {
        "field": "at",
        "fixed_interval": "1350000ms",
        "min_doc_count": 1,
    }
    assert body["size"] == 0


async def test_the_connector_cuts_by_the_server_s_counts():
    script = SearchScript(documents(100, at=lambda n: DAY + timedelta(minutes=n)))
    async with connected(script) as connector:
        parts = await connector.plan(SPAN, 30)
    require_tiling(list(parts), SPAN)
    assert len(parts) >= 4
    assert script.kinds["live_count"] == 1
    assert script.kinds["plan"] <= 2


async def test_counts_of_a_part_of_the_shards_cut_nothing_e2():
    script = SearchScript(documents(100, at=lambda n: DAY + timedelta(minutes=n)))
    script.at("plan", 1, lambda answer: {**answer, "timed_out": True})
    async with connected(script) as connector:
        with pytest.raises(TransientError, match="ran out of time"):
            await connector.plan(SPAN, 30)


@pytest.mark.parametrize("answer", [{"aggregations": {}}, {"aggregations": None}])
async def test_an_answer_without_steps_is_transient(answer):
    script = SearchScript(documents(100))
    script.at("plan", 1, lambda true: {**true, **answer})
    async with connected(script) as connector:
        with pytest.raises(TransientError, match="holds no steps"):
            await connector.plan(SPAN, 30)


async def test_a_refused_count_is_told():
    script = SearchScript(documents(100))
    script.at("live_count", 1, refusal(403, "security_exception"))
    async with connected(script) as connector:
        with pytest.raises(ConfigurationError, match="security_exception"):
            await connector.plan(SPAN, 30)


async def test_the_clock_is_the_server_s_to_the_millisecond_below():
    script = SearchScript(documents(1))
    async with connected(script) as connector:
        assert await connector.now() == datetime(2025, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)


async def test_a_server_that_does_not_tell_the_time_is_an_error():
    script = SearchScript(documents(1))
    script.at("clock", 1, lambda answer: {**answer, "aggregations": {"clock": {"buckets": []}}})
    async with connected(script) as connector:
        with pytest.raises(TransientError, match="does not say"):
            await connector.now()


async def test_count_is_live_and_exact():
    script = SearchScript(documents(40))
    script.at("live_count", 2, lambda answer: with_total(answer, "gte"))
    async with connected(script) as connector:
        assert await connector.count(SPAN) == 40
        with pytest.raises(RestartAttempt, match="no exact count"):
            await connector.count(SPAN)


def with_total(answer: dict, relation: str) -> dict:
    answer["hits"]["total"]["relation"] = relation
    return answer
