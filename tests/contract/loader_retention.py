"""Clauses about retention: which old rows leave the target, how many may, and that others stay (F-20)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from loaders.base import Loader
from loaders.retention import Limits, Retired
from state.contract import Contract
from state.errors import ConfigurationError, LeaseLost, PermanentError, TransientError, UnknownOutcome
from tests.contract.loader_desk import (
    APPEND,
    HOUR,
    MINUTE,
    SCHEMA,
    START,
    Desk,
    attempt,
    breaking,
    desk,
    losing_answer,
    rows,
    table,
)

MANY = Limits(1000, 100.0)
NOON = START + MINUTE
"""Between the rows that `filled` calls old and those that it calls new."""


async def filled(d: Desk, loader: Loader, old: int, new: int) -> None:
    """A target of old rows `o0`, `o1`, … and new ones `n0`, …; the first of the new ones is at NOON itself."""
    olds = [(f"o{n}", 1, n, NOON - timedelta(microseconds=1 + n)) for n in range(old)]
    news = [(f"n{n}", 1, n, NOON + timedelta(microseconds=n)) for n in range(new)]
    await d.load(loader, attempt(), rows(*olds, *news))


def left(d: Desk) -> list[str]:
    return sorted(row["id"] for row in d.place.rows())


async def older_rows_leave_and_no_others(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await filled(d, loader, 2, 2)
        d.place.add_row({"id": "by hand", "at": START - 9 * HOUR, "version": 1, "value": 1})
        d.place.add_row({"id": "ageless", "at": None, "version": 1, "value": 1})
        assert await loader.retire(attempt(), "at", NOON, MANY) == Retired(3, 6, deleted=3)
        assert left(d) == ["ageless", "n0", "n1"]
        assert await loader.retire(attempt(), "at", NOON, MANY) == Retired(0, 3)


async def older_rows_leave_in_append_mode(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**APPEND)
        await filled(d, loader, 1, 1)
        assert await loader.retire(attempt(), "at", NOON, MANY) == Retired(1, 2, deleted=1)
        assert left(d) == ["n0"]


async def without_limits_rows_are_only_counted(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await filled(d, loader, 1, 3)
        assert await loader.retire(attempt(), "at", NOON, None) == Retired(1, 4)
        assert await loader.retire(attempt(), "at", NOON + HOUR, None) == Retired(4, 4)
        assert len(left(d)) == 4


async def more_rows_than_the_limit_do_not_leave(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await filled(d, loader, 3, 5)
        with pytest.raises(ConfigurationError, match="3 of 8 rows") as caught:
            await loader.retire(attempt(), "at", NOON, Limits(2, 100.0))
        assert caught.value.path == "phases.target_cleaning.max_rows"
        assert len(left(d)) == 8
        assert (await loader.retire(attempt(), "at", NOON, Limits(3, 100.0))).deleted == 3


async def more_percent_than_the_limit_do_not_leave(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await filled(d, loader, 3, 5)
        with pytest.raises(ConfigurationError, match="3 of 8 rows") as caught:
            await loader.retire(attempt(), "at", NOON, Limits(8, 37.4))
        assert caught.value.path == "phases.target_cleaning.max_percent"
        assert len(left(d)) == 8
        assert (await loader.retire(attempt(), "at", NOON, Limits(8, 37.5))).deleted == 3


async def never_do_all_rows_leave(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await filled(d, loader, 2, 0)
        with pytest.raises(PermanentError, match="never takes all"):
            await loader.retire(attempt(), "at", NOON, MANY)
        assert left(d) == ["o0", "o1"]


async def a_fenced_attempt_removes_nothing(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await filled(d, loader, 1, 1)
        await d.loader().raise_fence(attempt(2))
        with pytest.raises(LeaseLost):
            await loader.retire(attempt(1), "at", NOON, MANY)
        assert left(d) == ["n0", "o0"]
        assert (await loader.retire(attempt(2), "at", NOON, MANY)).deleted == 1


async def a_removal_that_fails_removes_nothing(make) -> None:
    async with desk(make) as d:
        loader = d.loader(port=breaking("loader.retire.commit"))
        await filled(d, loader, 1, 1)
        with pytest.raises(TransientError):
            await loader.retire(attempt(), "at", NOON, MANY)
        assert left(d) == ["n0", "o0"]


async def a_removal_whose_answer_is_lost_is_done_again(make) -> None:
    async with desk(make) as d:
        loader = d.loader(port=losing_answer("loader.retire.commit"))
        await filled(d, loader, 1, 1)
        with pytest.raises(UnknownOutcome):
            await loader.retire(attempt(), "at", NOON, MANY)
        assert await loader.retire(attempt(), "at", NOON, MANY) == Retired(0, 1)


async def a_column_that_tells_no_age_is_named(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await filled(d, loader, 1, 1)
        for column in ("nothing", "value"):
            with pytest.raises(ConfigurationError, match=column) as caught:
                await loader.retire(attempt(), column, NOON, MANY)
            assert caught.value.path == "phases.target_cleaning.column"


async def a_date_is_over_when_its_day_is(make) -> None:
    dated = Contract(SCHEMA.append(pa.field("day", pa.date32())), "at", ("id",))
    async with desk(make) as d:
        loader = d.loader()
        days = [{"id": f"d{n}", "version": 1, "day": date(2025, 11, n)} for n in (13, 14, 15)]
        await d.load(loader, attempt(), table(dated.schema, *days), contract=dated)
        noon = datetime(2025, 11, 14, 12, tzinfo=UTC)
        assert await loader.retire(attempt(), "day", noon, MANY) == Retired(1, 3, deleted=1)
        assert left(d) == ["d14", "d15"]


CLAUSES = {
    clause.__name__: clause
    for clause in (
        older_rows_leave_and_no_others,
        older_rows_leave_in_append_mode,
        without_limits_rows_are_only_counted,
        more_rows_than_the_limit_do_not_leave,
        more_percent_than_the_limit_do_not_leave,
        never_do_all_rows_leave,
        a_fenced_attempt_removes_nothing,
        a_removal_that_fails_removes_nothing,
        a_removal_whose_answer_is_lost_is_done_again,
        a_column_that_tells_no_age_is_named,
        a_date_is_over_when_its_day_is,
    )
}
