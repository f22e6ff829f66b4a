"""How many statements a window takes in Snowflake: the figures of docs/snowflake-statements.md, counted anew."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from state.model import Window
from tests.contract.loader_desk import APPEND, CONTRACT, HOUR, START, attempt, desk, rows

PAGE = Path(__file__).parents[2] / "docs" / "snowflake-statements.md"
CALLS = ("prepare", "raise_fence", "put", "copy", "loads", "counts", "merge", "counts", "clean")
"""What a run asks of its loader, in order."""
DDL = ("CREATE", "ALTER", "DROP", "TRUNCATE")


class Recorder:
    """What the loaders of a place sent: not what an operator's hand did, nor the opening of sessions."""

    def __init__(self, place):
        self.place = place
        self.seen = 0

    def all(self):
        """Statements of the sessions that spoke of the place's database, oldest first."""
        history = [one for one in self.place.place.server.get("/test/statements") if one["tag"]]
        mine = {one["session"] for one in history if f'"{self.place.place.database}"' in one["text"]}
        return [one for one in history if one["session"] in mine and not one["text"].startswith("SHOW PARAMETERS")]

    def new(self):
        found = self.all()
        new, self.seen = found[self.seen :], len(found)
        return new


async def window(d, recorder, number, chunks, **settings):
    """One whole run with `chunks` files in a loader that has done one before; statements of each of `CALLS`."""
    loader = d.loaders[0] if d.loaders else d.loader(**settings)
    run = attempt(number, number=number)
    counted = []

    recorder.new()

    def count():
        counted.append(len(recorder.new()))

    identity = await loader.prepare(CONTRACT)
    count()
    await loader.raise_fence(run)
    count()
    manifest = await d.put(loader, run, *(rows((f"k{number}-{n}", 1, n)) for n in range(chunks)))
    count()
    copied = await loader.copy(run, manifest, CONTRACT)
    count()
    await loader.loads("p", run.run)
    count()
    await loader.counts(run, manifest, copied.table)
    count()
    receipt = await loader.merge(run, manifest, CONTRACT, copied.table, identity)
    count()
    counts = await loader.counts(run, manifest, copied.table)
    count()
    await loader.clean(run, manifest, None)
    count()
    assert receipt.counts.stage_rows == receipt.counts.inserted == chunks
    assert (counts.staged_files, counts.staged_rows, counts.stage_rows) == (chunks, chunks, chunks)
    assert (counts.target_rows, counts.target_identity) == (chunks, identity)
    return counted


def told(column):
    """A column of the page's table without its sum, which is right."""
    first = PAGE.read_text().partition("\n## ")[0]
    lines = [line for line in first.splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip(" `*") for cell in line.strip("|").split("|")] for line in lines]
    *figures, total = [int(line[head.index(column)]) for line in body]
    assert total == sum(figures)
    return figures


async def test_the_statements_of_a_window_are_those_of_the_page(snowflake_place):
    recorder = Recorder(snowflake_place)
    async with desk(lambda _folder: snowflake_place) as d:
        await window(d, recorder, 1, 1)
        for number, (column, chunks) in enumerate({"empty": 0, "1 file": 1, "20 files": 20}.items(), 2):
            counted = await window(d, recorder, number, chunks)
            assert counted == told(column)
            if not chunks:
                assert sum(counted) <= 6


async def test_an_empty_window_in_append_mode_takes_its_transaction(snowflake_place):
    recorder = Recorder(snowflake_place)
    async with desk(lambda _folder: snowflake_place) as d:
        await window(d, recorder, 1, 1, **APPEND)
        assert await window(d, recorder, 2, 0) == told("empty, append")


async def test_a_look_for_leftovers_takes_the_statements_of_the_page(snowflake_place):
    recorder = Recorder(snowflake_place)
    async with desk(lambda _folder: snowflake_place) as d:
        await window(d, recorder, 1, 1)
        recorder.new()
        assert await d.loaders[0].staged_runs() == set()
        [told] = re.findall(r"leftovers of finished runs: (\d+) statements", PAGE.read_text())
        assert len(recorder.new()) == int(told)


async def test_no_statement_in_a_transaction_defines_anything_g3(snowflake_place):
    recorder = Recorder(snowflake_place)
    async with desk(lambda _folder: snowflake_place) as d:
        await window(d, recorder, 1, 2)
        inside = [one["text"].split()[0] for one in recorder.all() if one["transaction"]]
        assert {"UPDATE", "SELECT", "MERGE", "INSERT"} <= set(inside)
        assert not set(inside) & set(DDL)


async def test_what_depends_on_a_write_is_asked_in_its_session_g7(snowflake_place):
    recorder = Recorder(snowflake_place)
    async with desk(lambda _folder: snowflake_place) as d:
        await window(d, recorder, 1, 2)
        assert len({one["session"] for one in recorder.all()}) == 1


async def test_runs_side_by_side_read_in_the_sessions_that_wrote_for_them(snowflake_place):
    """No read opens a session of its own where the one that wrote is at hand: as many as work at once."""
    recorder = Recorder(snowflake_place)
    async with desk(lambda _folder: snowflake_place) as d:
        loader = d.loader()
        await loader.prepare(CONTRACT)

        async def run(number):
            span = Window(START + number * HOUR, START + (number + 1) * HOUR)
            staged = await d.stage(loader, attempt(number, span), rows((f"k{number}", 1, 1)))
            await staged.counts()
            await staged.merge()
            await staged.counts()

        for first in (1, 4, 7):
            await asyncio.gather(*(run(number) for number in range(first, first + 3)))
        assert len({one["session"] for one in recorder.all()}) <= 4


async def test_counts_of_another_loader_are_asked_in_a_session_opened_for_them_g7(snowflake_place):
    recorder = Recorder(snowflake_place)
    async with desk(lambda _folder: snowflake_place) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)))
        before = {one["session"] for one in recorder.all()}
        recorder.new()
        await d.loader().counts(attempt(), staged.manifest, staged.table)
        assert not {one["session"] for one in recorder.new()} & before


async def test_a_merge_that_is_taken_over_is_counted_in_a_session_opened_for_it_g7(snowflake_place):
    """The session that raised the fence wrote to another table, and need not see yet what was merged before."""
    recorder = Recorder(snowflake_place)
    async with desk(lambda _folder: snowflake_place) as d:
        mine = d.loader()
        await mine.prepare(CONTRACT)
        staged = await d.stage(d.loader(account=snowflake_place.another_account()), attempt(), rows(("a", 1, 1)))
        receipt = await staged.merge()
        await mine.raise_fence(attempt(2))
        assert (await mine.loads("p", attempt().run)).receipts == (receipt,)
        before = {one["session"] for one in recorder.all()}
        recorder.new()
        assert (await mine.counts(attempt(2), staged.manifest, staged.table)).target_rows == 1
        assert not {one["session"] for one in recorder.new()} & before


async def test_a_tag_tells_run_and_phase_and_no_value_n4(snowflake_place):
    recorder = Recorder(snowflake_place)
    async with desk(lambda _folder: snowflake_place) as d:
        await d.load(d.loader(), attempt(), rows(("canary-4711", 1, 1)))
        sent = recorder.all()
        tags = [json.loads(one["tag"]) for one in sent if one["text"].startswith(("MERGE INTO", "COPY", "PUT"))]
        assert {tag["phase"] for tag in tags} >= {"source_to_stage_transfer", "stage_to_target_transfer"}
        assert {(tag["pipeline"], tag["run"], tag["attempt"]) for tag in tags} == {("p", attempt().name, 1)}
        assert not [one for one in sent if "canary" in one["tag"] or "canary" in one["text"]]
