"""Clauses about mode snapshot: all rows of the target make room for those of a run, or none does."""

from __future__ import annotations

import pytest

from loaders.base import Held
from loaders.swap import SwapGuard
from state.contract import Contract
from state.errors import ConfigurationError, ContractError, LeaseLost, PermanentError, TransientError
from tests.contract.loader_desk import (
    CONTRACT,
    HOUR,
    NEXT,
    SCHEMA,
    SEEN,
    SNAPSHOT,
    START,
    WINDOW,
    attempt,
    breaking,
    desk,
    rows,
)

NO_CURSOR = Contract(SCHEMA, None, ())


def of(*ids: str, value: int = 1):
    """Rows with these keys, none with a cursor."""
    return rows(*((key, 1, value, None) for key in ids))


async def a_snapshot_replaces_all_rows_of_the_target(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**SNAPSHOT)
        await d.load(loader, attempt(1), rows(("a", 1, 1), ("b", 1, 1), ("c", 1, 1, START - HOUR)))
        counts = (await d.load(loader, attempt(2, NEXT), of("a", "d", value=2))).counts
        assert (counts.deleted, counts.stage_rows, counts.inserted, counts.duplicates) == (3, 2, 2, 0)
        assert d.values() == {"a": 2, "d": 2}


async def a_snapshot_needs_no_cursor_and_no_key(make) -> None:
    async with desk(make) as d:
        receipt = await d.load(d.loader(**SNAPSHOT), attempt(1), of("a", "a"), contract=NO_CURSOR)
        assert (receipt.counts.inserted, len(d.place.rows())) == (2, 2)


async def in_snapshot_mode_a_higher_token_fences_every_window(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**SNAPSHOT)
        staged = await d.stage(loader, attempt(1), of("a"))
        await d.loader(**SNAPSHOT).raise_fence(attempt(2, NEXT))
        with pytest.raises(LeaseLost):
            await staged.merge()
        assert d.place.rows() == []


async def an_older_window_does_not_replace_a_newer_snapshot(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**SNAPSHOT)
        newer = attempt(1, NEXT)
        await d.load(loader, newer, of("new"))
        staged = await d.stage(loader, attempt(2, WINDOW), of("old"))
        with pytest.raises(PermanentError, match=newer.name) as caught:
            await staged.merge()
        assert caught.value.code == "newer_loaded"
        assert list(d.values()) == ["new"]


async def a_snapshot_of_a_table_that_is_gone_hinders_nobody(make) -> None:
    async with desk(make) as d:
        await d.load(d.loader(**SNAPSHOT), attempt(1, NEXT), of("new"))
        d.place.drop_target()
        await d.load(d.loader(**SNAPSHOT), attempt(2, WINDOW), of("old"))
        assert list(d.values()) == ["old"]


async def an_empty_snapshot_is_refused_where_there_are_rows(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**SNAPSHOT)
        await d.load(loader, attempt(1))
        await d.load(loader, attempt(2, number=2), of("a"))
        staged = await d.stage(loader, attempt(3, NEXT))
        with pytest.raises(ConfigurationError, match="would be empty") as caught:
            await staged.merge()
        assert caught.value.path == "target_system.snapshot.allow_empty"
        assert list(d.values()) == ["a"]


async def an_empty_snapshot_empties_the_target_where_that_is_allowed(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**SNAPSHOT, snapshot=SwapGuard(allow_empty=True))
        await d.load(loader, attempt(1), of("a", "b"))
        counts = (await d.load(loader, attempt(2, NEXT))).counts
        assert (counts.deleted, counts.inserted, d.place.rows()) == (2, 0, [])


async def a_snapshot_that_shrinks_too_much_is_refused(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**SNAPSHOT, snapshot=SwapGuard(max_shrink_percent=50.0))
        await d.load(loader, attempt(1), of("a", "b", "c", "d"))
        await d.load(loader, attempt(2, NEXT), of("a", "b"))
        await d.load(loader, attempt(3, NEXT, 2), of("a", "b", "c", "d", "e"))
        staged = await d.stage(loader, attempt(4, NEXT, 3), of("a", "b"))
        with pytest.raises(ConfigurationError, match="2 rows, the target 5") as caught:
            await staged.merge()
        assert caught.value.path == "target_system.snapshot.max_shrink_percent"
        assert len(d.place.rows()) == 5


async def rows_of_somebody_else_are_not_swapped_away(make) -> None:
    for other in ("nobody", "another pipeline"):
        async with desk(make) as d:
            loader = d.loader(**SNAPSHOT)
            await d.load(loader, attempt(1), of("a"))
            if other == "nobody":
                d.place.add_row({"id": "x", "at": START, "value": 1})
            else:
                await d.load(d.loader(pipeline="q"), attempt(1, pipeline="q"), rows(("x", 1, 1)))
            staged = await d.stage(loader, attempt(2, NEXT), of("b", "c"))
            with pytest.raises(ContractError, match="1 of 2 rows"):
                await staged.merge()
            assert sorted(d.values()) == ["a", "x"]


async def a_key_that_is_there_twice_is_no_snapshot(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(**{**SNAPSHOT, "key": ("id",)}), attempt(1), of("a", "b", "a"))
        with pytest.raises(ContractError, match="3 rows but 2 keys"):
            await staged.merge()
        assert d.place.rows() == []


async def a_key_without_a_value_is_no_snapshot(make) -> None:
    async with desk(make) as d:
        keyed = d.loader(**{**SNAPSHOT, "key": ("id", "value")})
        staged = await d.stage(keyed, attempt(1), rows(("a", 1, None), ("b", 1, 1)))
        with pytest.raises(ContractError, match=r"^1 .*value"):
            await staged.merge()
        assert d.place.rows() == []


async def a_swap_that_fails_leaves_what_was_there(make) -> None:
    for effect in ("loader.merge.insert", "loader.merge.receipt", "loader.merge.commit"):
        async with desk(make) as d:
            await d.load(d.loader(**SNAPSHOT), attempt(1), of("a"))
            port = breaking(effect, "loader.merge.commit")
            staged = await d.stage(d.loader(**SNAPSHOT, port=port), attempt(2, NEXT), of("b"))
            with pytest.raises(TransientError):
                await staged.merge()
            assert list(d.values()) == ["a"]
            port.broken = False
            await staged.merge()
            assert list(d.values()) == ["b"]


async def a_snapshot_is_answered_for_by_the_rows_of_its_run(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(**SNAPSHOT), attempt(1), of("a", "b"))
        await staged.merge()
        d.place.add_row({"id": "x", "at": START, "value": 1})
        assert (await staged.counts()).target_rows == 2
        assert await staged.loader.held(attempt(1), staged.table) == Held(2, 3)
        d.place.remove_row("a")
        assert (await staged.counts()).target_rows == 1


async def in_snapshot_mode_adopt_takes_every_row(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**SNAPSHOT)
        identity = await loader.prepare(CONTRACT)
        await loader.raise_fence(attempt())
        d.place.fill_user_stage(rows(("a", 1, 1), ("b", 1, 1, START - HOUR), ("c", 1, 1, None)))
        copied = await loader.adopt(attempt(), CONTRACT, WINDOW, SEEN)
        assert copied.rows == 3
        assert identity


CLAUSES = {
    clause.__name__: clause
    for clause in (
        a_snapshot_replaces_all_rows_of_the_target,
        a_snapshot_needs_no_cursor_and_no_key,
        in_snapshot_mode_a_higher_token_fences_every_window,
        an_older_window_does_not_replace_a_newer_snapshot,
        a_snapshot_of_a_table_that_is_gone_hinders_nobody,
        an_empty_snapshot_is_refused_where_there_are_rows,
        an_empty_snapshot_empties_the_target_where_that_is_allowed,
        a_snapshot_that_shrinks_too_much_is_refused,
        rows_of_somebody_else_are_not_swapped_away,
        a_key_that_is_there_twice_is_no_snapshot,
        a_key_without_a_value_is_no_snapshot,
        a_swap_that_fails_leaves_what_was_there,
        a_snapshot_is_answered_for_by_the_rows_of_its_run,
        in_snapshot_mode_adopt_takes_every_row,
    )
}
