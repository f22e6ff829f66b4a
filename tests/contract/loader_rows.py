"""Clauses about rows: which of two versions stays, what is counted, and what append replaces."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from state.contract import LOADED_AT, READ_AT, RUN
from state.errors import ContractError
from tests.contract.loader_desk import APPEND, HOUR, MINUTE, NEXT, SEEN, START, attempt, desk, rows

LATER = SEEN + MINUTE


async def a_null_key_is_refused_and_nothing_changed(make) -> None:
    async with desk(make) as d:
        loader = d.loader(key=("id", "value"))
        await d.load(loader, attempt(1), rows(("a", 1, 1)))
        staged = await d.stage(loader, attempt(2, number=2), rows(("b", 1, None), ("c", 1, None), ("d", 1, 1)))
        with pytest.raises(ContractError, match=r"(?s)^2 .*value"):
            await staged.merge()
        assert d.values() == {"a": 1}
        assert len((await loader.loads("p")).receipts) == 1


async def of_several_versions_in_the_stage_the_newest_is_taken(make) -> None:
    async with desk(make) as d:
        parts = [rows(("a", None, 0), ("a", 3, 33)), rows(("a", 4, 44), ("b", None, 1)), rows(("a", 2, 22))]
        receipt = await d.load(d.loader(), attempt(1), *parts)
        assert d.values() == {"a": 44, "b": 1}
        assert receipt.counts.duplicates == 3


async def of_equal_versions_in_the_stage_the_later_look_is_taken(make) -> None:
    async with desk(make) as d:
        await d.load(d.loader(), attempt(1), (rows(("a", 1, 2)), LATER), (rows(("a", 1, 1)), SEEN))
        assert d.values() == {"a": 2}


async def of_equal_order_the_last_row_of_the_last_file_is_taken(make) -> None:
    """However the rows are spread over the files: the same one each time."""
    for order in itertools.permutations([1, 2, 3]):
        async with desk(make) as d:
            await d.load(d.loader(), attempt(1), *(rows(("a", 1, n * 10), ("a", 1, n)) for n in order))
            assert d.values() == {"a": order[-1]}


async def an_older_version_does_not_replace_a_newer_one(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await d.load(loader, attempt(1), rows(("a", 5, 5), ("b", 5, 5)))
        receipt = await d.load(loader, attempt(2, number=2), (rows(("a", 4, 4), ("b", 6, 6)), LATER))
        assert (receipt.counts.older, receipt.counts.updated) == (1, 1)
        assert d.values() == {"a": 5, "b": 6}


async def a_null_version_is_older_than_any(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await d.load(loader, attempt(1), rows(("a", 1, 1), ("b", None, 1), ("c", None, 1)))
        again = rows(("a", None, 2), ("b", 0, 2), ("c", None, 2))
        receipt = await d.load(loader, attempt(2, number=2), (again, LATER))
        assert (receipt.counts.older, receipt.counts.updated) == (1, 2)
        assert d.values() == {"a": 1, "b": 2, "c": 2}


async def of_equal_versions_the_later_look_wins(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await d.load(loader, attempt(1), (rows(("a", 1, 1)), SEEN))
        await d.load(loader, attempt(2, number=2), (rows(("a", 1, 2)), LATER))
        await d.load(loader, attempt(3, number=3), (rows(("a", 1, 3)), SEEN + MINUTE / 2))
        assert d.values() == {"a": 2}


async def without_a_version_column_the_later_look_wins(make) -> None:
    async with desk(make) as d:
        loader = d.loader(version="read_at")
        await d.load(loader, attempt(1), (rows(("a", 9, 1)), SEEN))
        await d.load(loader, attempt(2, number=2), (rows(("a", 1, 2)), LATER))
        assert d.values() == {"a": 2}


async def a_row_without_the_time_of_a_look_is_the_oldest(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(version="read_at"), attempt(1), rows(("a", 1, 2)))
        d.place.add_row({"id": "a", "at": START, "value": 1})
        await staged.merge()
        assert d.values() == {"a": 2}


async def outcomes_are_counted_and_sum_to_the_keys(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await d.load(loader, attempt(1), rows(("older", 5, 1), ("updated", 1, 1), ("same", 1, 1), ("again", 1, 1)))
        other = rows(
            ("older", 4, 2), ("updated", 2, 2), ("again", 1, 1), ("new", 1, 1), ("new", 0, 0), ("new", 1, 1)
        )
        staged = [(other, LATER), (rows(("same", 1, 1)), SEEN)]
        counts = (await d.load(loader, attempt(2, number=2), *staged)).counts
        assert msgspec.structs.asdict(counts) == {
            "stage_rows": 7,
            "distinct_keys": 5,
            "inserted": 1,
            "updated": 1,
            "older": 1,
            "unchanged": 2,
            "deleted": 0,
            "quarantined": 0,
        }


async def an_unchanged_row_that_was_seen_again_advances_only_that(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await d.load(loader, attempt(1), (rows(("a", 1, 1)), SEEN))
        before = d.row("a")
        receipt = await d.load(loader, attempt(2, number=2), (rows(("a", 1, 1)), LATER))
        assert receipt.counts.unchanged == 1
        assert d.row("a") == {**before, READ_AT: LATER}


async def rows_tell_their_run_and_their_times(make) -> None:
    async with desk(make) as d:
        for settings, run in (({}, attempt(1)), (APPEND, attempt(2, NEXT))):
            at = run.run.window.start
            receipt = await d.load(d.loader(**settings), run, rows((run.name, 1, 1, at)))
            row = d.row(run.name)
            assert (row[RUN], row[READ_AT], row[LOADED_AT]) == (run.name, SEEN, receipt.merged_at)
            assert (row["at"], row["version"]) == (at, 1)


async def append_replaces_what_earlier_runs_wrote_in_the_window(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**APPEND)
        last = NEXT.start - MINUTE / 60_000_000
        await d.load(loader, attempt(1), rows(("a", 1, 1, START), ("b", 1, 1, last)))
        await d.load(loader, attempt(2, NEXT), rows(("n", 1, 1, NEXT.start)))
        counts = (await d.load(loader, attempt(3, number=2), rows(("a", 1, 2), ("a", 1, 2)))).counts
        assert (counts.deleted, counts.inserted, counts.stage_rows, counts.duplicates) == (2, 2, 2, 0)
        assert sorted((row["id"], row["value"]) for row in d.place.rows()) == [("a", 2), ("a", 2), ("n", 1)]


async def an_empty_run_deletes_too(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**APPEND)
        await d.load(loader, attempt(1), rows(("a", 1, 1)))
        counts = (await d.load(loader, attempt(2, number=2))).counts
        assert (counts.deleted, counts.inserted) == (1, 0)
        assert d.values() == {}


async def append_leaves_rows_of_others_alone(make) -> None:
    async with desk(make) as d:
        mine, theirs = d.loader(**APPEND), d.loader(pipeline="q", **APPEND)
        await d.load(mine, attempt(1), rows(("a", 1, 1)))
        await d.load(theirs, attempt(1, pipeline="q"), rows(("theirs", 1, 1)))
        d.place.add_row({"id": "by hand", "at": START, "value": 1})
        await d.load(mine, attempt(2, number=2))
        assert d.values() == {"theirs": 1, "by hand": 1}


async def append_refuses_to_stand_beside_rows_of_runs_without_receipt(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**APPEND)
        await d.load(loader, attempt(1), rows(("a", 1, 1)))
        d.place.lose_receipts()
        staged = await d.stage(loader, attempt(2, number=2), rows(("a", 1, 2)))
        with pytest.raises(ContractError, match="1 rows"):
            await staged.merge()
        assert d.values() == {"a": 1}


async def append_refuses_a_cursor_beside_the_window(make) -> None:
    for at in (None, START + HOUR, START - MINUTE):
        async with desk(make) as d:
            staged = await d.stage(d.loader(**APPEND), attempt(1), rows(("a", 1, 1), ("b", 1, 1, at)))
            with pytest.raises(ContractError, match="1 rows"):
                await staged.merge()
            assert d.values() == {}


CLAUSES = {
    clause.__name__: clause
    for clause in (
        a_null_key_is_refused_and_nothing_changed,
        of_several_versions_in_the_stage_the_newest_is_taken,
        of_equal_versions_in_the_stage_the_later_look_is_taken,
        of_equal_order_the_last_row_of_the_last_file_is_taken,
        an_older_version_does_not_replace_a_newer_one,
        a_null_version_is_older_than_any,
        of_equal_versions_the_later_look_wins,
        without_a_version_column_the_later_look_wins,
        a_row_without_the_time_of_a_look_is_the_oldest,
        outcomes_are_counted_and_sum_to_the_keys,
        an_unchanged_row_that_was_seen_again_advances_only_that,
        rows_tell_their_run_and_their_times,
        append_replaces_what_earlier_runs_wrote_in_the_window,
        an_empty_run_deletes_too,
        append_leaves_rows_of_others_alone,
        append_refuses_to_stand_beside_rows_of_runs_without_receipt,
        append_refuses_a_cursor_beside_the_window,
    )
}
