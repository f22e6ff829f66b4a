"""Clauses about rows that a policy sets aside: the quarantine table, its spans, its counts (M-14)."""

from __future__ import annotations

import pytest

from loaders.archive_settings import ArchivePlace
from loaders.columns import FILE
from state.contract import LOADED_AT, READ_AT, RUN
from state.errors import RestartAttempt, TransientError
from state.model import Window
from tests.contract.loader_desk import (
    APPEND,
    CONTRACT,
    HOUR,
    MINUTE,
    NEXT,
    SEEN,
    SNAPSHOT,
    START,
    WINDOW,
    attempt,
    bad,
    breaking,
    desk,
    rows,
)
from tests.contract.loader_stage import soon

DAY = Window(START, START + 24 * HOUR)
FIRST_HALF = Window(START, START + HOUR / 2)


def values(d) -> list[str]:
    """Bad values in the quarantine table."""
    return sorted(row["bad_value"] for row in d.place.quarantine())


async def a_row_set_aside_comes_to_the_quarantine_table_with_why_and_when_and_not_to_the_target(make) -> None:
    async with desk(make) as d:
        staged = await d.stage_aside(d.loader(), attempt(), rows(("a", 1, 1)), bad("0000"))
        receipt = await staged.merge()
        assert (receipt.counts.inserted, receipt.counts.quarantined) == (1, 1)
        assert (await d.loader().loads("p")).receipts == (receipt,)
        assert d.values() == {"a": 1}
        [row] = d.place.quarantine()
        assert row.pop(LOADED_AT) is not None
        assert row == {
            "pipeline": "p",
            "read_start": WINDOW.start,
            "read_end": WINDOW.end,
            "bad_column": "value",
            "reason": "no number",
            "bad_value": "0000",
            "row_text": '{"id":"x"}',
            "row_cursor": START + MINUTE,
            RUN: attempt().name,
            READ_AT: SEEN,
        }


async def without_a_row_set_aside_there_is_no_quarantine_table(make) -> None:
    async with desk(make) as d:
        for number, good in enumerate((rows(("a", 1, 1)), None), start=1):
            staged = await d.stage_aside(d.loader(), attempt(number, number=number), good, None)
            assert (await staged.merge()).counts.quarantined == 0
            counts = await staged.counts()
            assert (counts.staged_aside, counts.stage_aside, counts.quarantine_rows) == (0, 0, 0)
        assert d.place.quarantine() is None


async def a_run_tells_anew_what_stood_in_the_quarantine_of_its_span(make) -> None:
    for settings in ({}, APPEND):
        async with desk(make) as d:
            loader = d.loader(**settings)
            await (await d.stage_aside(loader, attempt(), rows(("a", 1, 1)), bad("x", "y"))).merge()
            again = await d.stage_aside(loader, attempt(2, number=2), rows(("a", 1, 1), ("x", 1, 1)), bad("y"))
            await again.merge()
            assert [(row["bad_value"], row[RUN]) for row in d.place.quarantine()] == [
                ("y", attempt(number=2).name)
            ]


async def what_was_mended_or_deleted_leaves_the_quarantine_with_the_next_run_over_it(make) -> None:
    for settings in ({}, APPEND):
        async with desk(make) as d:
            loader = d.loader(**settings)
            await (await d.stage_aside(loader, attempt(), None, bad("x"))).merge()
            assert values(d) == ["x"]
            await (await d.stage_aside(loader, attempt(2, number=2), rows(("x", 1, 1)), None)).merge()
            assert values(d) == []
            await (await d.stage_aside(loader, attempt(3, number=3), None, bad("x"))).merge()
            await (await d.stage_aside(loader, attempt(4, number=4), None, None)).merge()
            assert values(d) == []


async def other_spans_keep_what_stands_in_the_quarantine(make) -> None:
    async with desk(make) as d:
        await (await d.stage_aside(d.loader(), attempt(), None, bad("x", at=START + HOUR - MINUTE))).merge()
        await (await d.stage_aside(d.loader(), attempt(2, NEXT), rows(("a", 1, 1, NEXT.start)), None)).merge()
        half = attempt(3, FIRST_HALF)
        await (await d.stage_aside(d.loader(), half, None, bad("y"))).merge()
        assert values(d) == ["x", "y"]


async def a_run_of_the_whole_source_tells_the_whole_quarantine_anew(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**SNAPSHOT)
        await (await d.stage_aside(loader, attempt(), rows(("a", 1, 1)), bad("x", at=START - HOUR))).merge()
        await (await d.stage_aside(loader, attempt(2, NEXT), rows(("a", 1, 1)), bad("y", at=START))).merge()
        assert values(d) == ["y"]


async def other_pipelines_keep_what_stands_in_the_quarantine(make) -> None:
    async with desk(make) as d:
        await (await d.stage_aside(d.loader(), attempt(), None, bad("x"))).merge()
        other = d.loader(pipeline="other")
        await (await d.stage_aside(other, attempt(pipeline="other"), None, bad("y"))).merge()
        assert values(d) == ["x", "y"]


async def a_row_without_cursor_leaves_when_all_that_its_run_read_is_read_again(make) -> None:
    async with desk(make) as d:
        await (await d.stage_aside(d.loader(), attempt(), None, bad("x", at=None))).merge()
        await (await d.stage_aside(d.loader(), attempt(2, FIRST_HALF), rows(("a", 1, 1)), None)).merge()
        assert values(d) == ["x"]
        await (await d.stage_aside(d.loader(), attempt(3, DAY), rows(("a", 1, 1)), None)).merge()
        assert values(d) == []


async def rows_set_aside_come_with_the_receipt_or_not_at_all(make) -> None:
    async with desk(make) as d:
        port = breaking("loader.merge.receipt")
        staged = await d.stage_aside(d.loader(port=port), attempt(), rows(("a", 1, 1)), bad("x"))
        with pytest.raises(TransientError):
            await staged.merge()
        assert not d.place.quarantine()
        port.broken = False
        for _ in range(2):
            await staged.merge()
        assert values(d) == ["x"]


async def copy_loads_side_files_beside_the_stage_table_and_names_one_that_is_gone(make) -> None:
    async with desk(make) as d:
        staged = await d.stage_aside(d.loader(), attempt(), rows(("a", 1, 1)), bad("x", "y"))
        [side] = staged.manifest.side_chunks
        copied = await staged.loader.copy(attempt(), staged.manifest, CONTRACT)
        assert (copied.rows, copied.quarantined, copied.aside) == (1, 2, {side.name: 2})
        assert {row["id"] for row in d.place.stage_rows(copied.table)} == {"a"}
        beside = d.place.stage_rows(copied.table + "_Q")
        assert [(row["bad_value"], row[FILE]) for row in lower(beside)] == [("x", side.name), ("y", side.name)]
        d.place.remove_file(side.name)
        with pytest.raises(RestartAttempt, match=side.name):
            await staged.loader.copy(attempt(), staged.manifest, CONTRACT)


async def side_rows_that_changed_since_the_gate_are_not_merged(make) -> None:
    async with desk(make) as d:
        staged = await d.stage_aside(d.loader(), attempt(), rows(("a", 1, 1)), bad("x", "y"))
        d.place.remove_side_row(staged.table + "_Q", "x")
        with pytest.raises(RestartAttempt, match="set aside"):
            await staged.merge()
        assert not d.place.quarantine()


async def counts_follow_side_rows_that_were_taken_away(make) -> None:
    async with desk(make) as d:
        staged = await d.stage_aside(d.loader(), attempt(), rows(("a", 1, 1)), bad("x", "y"))
        before = await staged.counts()
        assert (before.staged_rows, before.stage_rows, before.staged_aside, before.stage_aside) == (1, 1, 2, 2)
        await staged.merge()
        assert (await staged.counts()).quarantine_rows == 2
        d.place.remove_quarantined("x")
        d.place.remove_side_row(staged.table + "_Q", "x")
        d.place.remove_file(staged.manifest.side_chunks[0].name)
        after = await staged.counts()
        assert (after.staged_aside, after.stage_aside, after.quarantine_rows) == (0, 1, 1)


async def counts_tell_that_another_run_has_merged_since(make) -> None:
    async with desk(make) as d:
        staged = await d.stage_aside(d.loader(), attempt(), rows(("a", 1, 1)), bad("x"))
        await staged.merge()
        await d.load(d.loader(pipeline="other"), attempt(pipeline="other"), rows(("o", 1, 1)))
        assert not (await staged.counts()).read_again
        later = await d.stage_aside(d.loader(), attempt(2, NEXT), rows(("b", 1, 1, NEXT.start)), bad("z"))
        await later.merge()
        assert (await staged.counts()).read_again
        assert not (await later.counts()).read_again


async def clean_archives_and_removes_side_files_and_their_tables(make) -> None:
    async with desk(make) as d:
        staged = await d.stage_aside(d.loader(), attempt(), rows(("a", 1, 1)), bad("x"))
        await staged.merge()
        archive = d.folder / "archive"
        archive.mkdir()
        assert await staged.loader.clean(attempt(), staged.manifest, ArchivePlace(str(archive))) == 2
        assert (d.place.files(), d.place.stage_tables()) == ([], [])
        assert all((archive / chunk.name).is_file() for chunk in staged.manifest.files)
        assert values(d) == ["x"]


async def sweep_keeps_side_files_and_tables_that_are_named(make) -> None:
    async with desk(make) as d:
        staged = await d.stage_aside(d.loader(), attempt(), rows(("a", 1, 1)), bad("x"))
        named = [staged.manifest], [staged.table]
        assert await staged.loader.sweep([attempt().run], *named, soon()) == 0
        assert len(d.place.stage_tables()) == 2
        assert set(await staged.loader.staged_runs()) == {attempt().run.hash}
        assert await staged.loader.sweep([attempt().run], [], [], soon()) == 4
        assert d.place.stage_tables() == []


def lower(found: list[dict]) -> list[dict]:
    return sorted(({name.lower(): value for name, value in row.items()} for row in found), key=str)


CLAUSES = {
    clause.__name__: clause
    for clause in (
        a_row_set_aside_comes_to_the_quarantine_table_with_why_and_when_and_not_to_the_target,
        without_a_row_set_aside_there_is_no_quarantine_table,
        a_run_tells_anew_what_stood_in_the_quarantine_of_its_span,
        what_was_mended_or_deleted_leaves_the_quarantine_with_the_next_run_over_it,
        other_spans_keep_what_stands_in_the_quarantine,
        a_run_of_the_whole_source_tells_the_whole_quarantine_anew,
        other_pipelines_keep_what_stands_in_the_quarantine,
        a_row_without_cursor_leaves_when_all_that_its_run_read_is_read_again,
        rows_set_aside_come_with_the_receipt_or_not_at_all,
        copy_loads_side_files_beside_the_stage_table_and_names_one_that_is_gone,
        side_rows_that_changed_since_the_gate_are_not_merged,
        counts_follow_side_rows_that_were_taken_away,
        counts_tell_that_another_run_has_merged_since,
        clean_archives_and_removes_side_files_and_their_tables,
        sweep_keeps_side_files_and_tables_that_are_named,
    )
}
