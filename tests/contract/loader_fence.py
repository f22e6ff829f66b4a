"""Clauses about fence, receipts and the transaction: who may write, once, and what a lost answer means."""

from __future__ import annotations

import pytest

from state.errors import LeaseLost, ReceiptMismatch, TransientError, UnknownOutcome
from state.model import Window
from tests.contract.loader_desk import (
    CONTRACT,
    HOUR,
    NEXT,
    START,
    WINDOW,
    attempt,
    breaking,
    desk,
    losing_answer,
    rows,
)


async def raising_the_fence_can_be_repeated(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        for _ in range(2):
            await loader.raise_fence(attempt(7))
        assert (await loader.loads("p")).highest_token == 7


async def an_older_attempt_cannot_raise_the_fence(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await loader.raise_fence(attempt(2))
        with pytest.raises(LeaseLost):
            await loader.raise_fence(attempt(1))


async def of_two_interleaved_attempts_the_newer_one_merges(make) -> None:
    """Design §6: A copies, B raises the fence and copies, A is fenced, B counts."""
    async with desk(make) as d:
        mine, theirs = d.loader(), d.loader()
        a = await d.stage(mine, attempt(1), rows(("a", 1, 1), ("b", 1, 1)))
        b = await d.stage(theirs, attempt(2), rows(("a", 1, 2), ("b", 1, 2), ("c", 1, 2)))
        with pytest.raises(LeaseLost):
            await a.merge()
        assert d.values() == {}
        receipt = await b.merge()
        assert (receipt.token, receipt.counts.inserted) == (2, 3)
        with pytest.raises(LeaseLost):
            await a.merge()
        assert d.values() == {"a": 2, "b": 2, "c": 2}


async def a_late_run_cannot_land_after_a_newer_run_of_its_span(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        late = await d.stage(loader, attempt(1), rows(("a", 1, 1)))
        wider = Window(START, START + 2 * HOUR)
        await d.load(loader, attempt(2, wider, number=2), rows(("a", 1, 2)))
        with pytest.raises(LeaseLost):
            await late.merge()
        assert d.values() == {"a": 2}


async def another_pipeline_does_not_fence(make) -> None:
    async with desk(make) as d:
        mine = await d.stage(d.loader(), attempt(1), rows(("a", 1, 1)))
        await d.loader(pipeline="q").raise_fence(attempt(9, pipeline="q"))
        assert (await mine.merge()).counts.inserted == 1


async def a_span_that_only_touches_does_not_fence(make) -> None:
    async with desk(make) as d:
        mine = await d.stage(d.loader(), attempt(1), rows(("a", 1, 1)))
        await d.loader().raise_fence(attempt(9, NEXT))
        await d.loader().raise_fence(attempt(10, Window(START - HOUR, START)))
        assert (await mine.merge()).counts.inserted == 1


async def a_merge_that_is_repeated_returns_its_receipt(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        staged = await d.stage(loader, attempt(1), rows(("a", 1, 1)))
        receipt = await staged.merge()
        d.place.change_row("a", value=5, version=0)
        assert await staged.merge() == receipt
        newer = await d.stage(loader, attempt(2))
        assert await newer.merge(manifest=staged.manifest) == receipt
        assert d.values() == {"a": 5}
        assert (await loader.loads("p")).receipts == (receipt,)


async def other_data_of_the_same_run_are_a_mismatch(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await d.load(loader, attempt(1), rows(("a", 1, 1)))
        other = await d.stage(loader, attempt(2), rows(("a", 2, 2)))
        with pytest.raises(ReceiptMismatch):
            await other.merge()
        assert d.values() == {"a": 1}


async def a_receipt_for_a_table_that_was_replaced_is_a_mismatch(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        staged = await d.stage(loader, attempt(1), rows(("a", 1, 1)))
        await staged.merge()
        d.place.drop_target()
        with pytest.raises(ReceiptMismatch):
            await staged.merge()
        identity = await loader.prepare(CONTRACT)
        for known in (identity, staged.identity):
            with pytest.raises(ReceiptMismatch):
                await staged.merge(identity=known)
        assert d.values() == {}


async def a_target_that_was_replaced_before_the_merge_is_a_mismatch(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        staged = await d.stage(loader, attempt(1), rows(("a", 1, 1)))
        d.place.drop_target()
        with pytest.raises(ReceiptMismatch):
            await staged.merge()
        await loader.prepare(CONTRACT)
        with pytest.raises(ReceiptMismatch):
            await staged.merge()
        assert d.values() == {}
        assert (await loader.loads("p")).receipts == ()


async def an_error_in_the_middle_leaves_nothing(make) -> None:
    async with desk(make) as d:
        port = breaking("loader.merge.receipt")
        loader = d.loader(port=port)
        await d.load(d.loader(), attempt(1, NEXT), rows(("a", 1, 1, START + HOUR)))
        staged = await d.stage(loader, attempt(2), rows(("a", 2, 2), ("b", 1, 1)))
        with pytest.raises(TransientError):
            await staged.merge()
        assert d.values() == {"a": 1}
        assert len((await loader.loads("p")).receipts) == 1
        port.broken = False
        receipt = await staged.merge()
        assert (receipt.counts.updated, receipt.counts.inserted) == (1, 1)


async def a_lost_answer_to_commit_is_unknown_and_settled_by_the_fence(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(port=losing_answer("loader.merge.commit")), attempt(1), rows(("a", 1, 1)))
        with pytest.raises(UnknownOutcome):
            await staged.merge()
        settling = d.loader()
        await settling.raise_fence(attempt(2))
        [receipt] = (await settling.loads("p")).receipts
        assert (receipt.run, receipt.manifest_digest) == (attempt().run, staged.manifest.digest)
        assert d.values() == {"a": 1}


async def the_target_remembers_each_pipeline(make) -> None:
    async with desk(make) as d:
        mine, theirs = d.loader(), d.loader(pipeline="q")
        empty = await mine.loads("p")
        assert (empty.receipts, empty.highest_token, empty.target_identity) == ((), 0, None)
        first = await d.load(mine, attempt(1), rows(("a", 1, 1)))
        other = await d.load(theirs, attempt(5, pipeline="q"), rows(("a", 2, 1)))
        await mine.raise_fence(attempt(3, NEXT))
        found = await theirs.loads("p")
        assert (found.receipts, found.highest_token) == ((first,), 3)
        assert (await mine.loads("q")).receipts == (other,)
        assert found.target_identity == first.target_identity
        assert first.run.window == WINDOW


async def a_run_is_asked_for_without_the_others(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        mine = await d.load(loader, attempt(1), rows(("a", 1, 1)))
        await d.load(loader, attempt(2, NEXT), rows(("b", 1, 1, NEXT.start)))
        await d.load(loader, attempt(3, number=2), rows(("a", 2, 2)))
        found = await loader.loads("p", attempt().run)
        assert (found.receipts, found.highest_token) == ((mine,), 1)
        assert found.target_identity == mine.target_identity
        unknown = await loader.loads("p", attempt(number=3).run)
        assert (unknown.receipts, unknown.highest_token) == ((), 0)
        assert unknown.target_identity == mine.target_identity


CLAUSES = {
    clause.__name__: clause
    for clause in (
        raising_the_fence_can_be_repeated,
        an_older_attempt_cannot_raise_the_fence,
        of_two_interleaved_attempts_the_newer_one_merges,
        a_late_run_cannot_land_after_a_newer_run_of_its_span,
        another_pipeline_does_not_fence,
        a_span_that_only_touches_does_not_fence,
        a_merge_that_is_repeated_returns_its_receipt,
        other_data_of_the_same_run_are_a_mismatch,
        a_receipt_for_a_table_that_was_replaced_is_a_mismatch,
        a_target_that_was_replaced_before_the_merge_is_a_mismatch,
        an_error_in_the_middle_leaves_nothing,
        a_lost_answer_to_commit_is_unknown_and_settled_by_the_fence,
        the_target_remembers_each_pipeline,
        a_run_is_asked_for_without_the_others,
    )
}
