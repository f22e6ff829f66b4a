"""Clauses about the stage: what is put, copied, adopted, counted, cleaned and swept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from loaders.archive_settings import ArchivePlace
from loaders.base import Held
from loaders.columns import FILE, ROW
from state.contract import READ_AT
from state.errors import ConfigurationError, PermanentError, RestartAttempt
from tests.contract.loader_desk import (
    APPEND,
    CONTRACT,
    HOUR,
    MINUTE,
    NEXT,
    SCHEMA,
    SEEN,
    START,
    WINDOW,
    attempt,
    desk,
    manifest_of,
    rows,
)


async def put_is_repeatable_and_looks_at_what_arrived(make) -> None:
    async with desk(make) as d:
        loader, run = d.loader(), attempt().run
        await loader.prepare(CONTRACT)
        chunk, path = d.file(run, rows(("a", 1, 1), ("b", 1, 2)))
        for _ in range(2):
            staged = await loader.put(attempt(), chunk, path)
            assert (staged.name, staged.bytes, staged.rows) == (chunk.name, chunk.bytes, 2)
        assert d.place.files() == [chunk.name]


async def put_refuses_other_bytes(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await loader.prepare(CONTRACT)
        chunk, path = d.file(attempt().run, rows(("a", 1, 1)))
        data = path.read_bytes()
        for wrong in (data[:-1], data[:8] + bytes([data[8] ^ 1]) + data[9:]):
            path.write_bytes(wrong)
            with pytest.raises(RestartAttempt, match=chunk.name):
                await loader.put(attempt(), chunk, path)
        assert d.place.files() == []


async def copy_loads_exactly_the_manifest(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await loader.prepare(CONTRACT)
        await loader.raise_fence(attempt())
        await d.put(loader, attempt(), rows(("stray", 1, 0)))
        manifest = await d.put(loader, attempt(), rows(("a", 1, 1), ("b", 1, 2)), rows(("c", 1, 3)))
        copied = await loader.copy(attempt(), manifest, CONTRACT)
        assert copied.files == {chunk.name: chunk.rows for chunk in manifest.chunks}
        assert copied.rows == 3
        assert copied.table.lower().endswith(f"_{attempt().run.hash}_a1")
        first, second = (chunk.name for chunk in manifest.chunks)
        found = sorted(
            (r["id"], r["value"], r[READ_AT], r[FILE], r[ROW]) for r in d.place.stage_rows(copied.table)
        )
        assert found == [("a", 1, SEEN, first, 0), ("b", 2, SEEN, first, 1), ("c", 3, SEEN, second, 0)]


async def copy_of_nothing_is_an_empty_table(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(), attempt())
        assert d.place.stage_rows(staged.table) == []
        receipt = await staged.merge()
        assert (receipt.counts.stage_rows, receipt.counts.distinct_keys) == (0, 0)
        assert (await d.loader().loads("p")).receipts == (receipt,)


async def copy_names_a_file_that_is_gone(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await loader.prepare(CONTRACT)
        manifest = await d.put(loader, attempt(), rows(("a", 1, 1)), rows(("b", 1, 1)))
        d.place.remove_file(manifest.chunks[1].name)
        with pytest.raises(RestartAttempt, match=manifest.chunks[1].name):
            await loader.copy(attempt(), manifest, CONTRACT)


async def copy_names_a_file_that_was_changed(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await loader.prepare(CONTRACT)
        manifest = await d.put(loader, attempt(), rows(("a", 1, 1)), rows(("b", 1, 1)))
        d.place.change_file(manifest.chunks[1].name)
        with pytest.raises(RestartAttempt, match=manifest.chunks[1].name):
            await loader.copy(attempt(), manifest, CONTRACT)


async def copy_names_a_file_with_other_rows_than_the_manifest(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await loader.prepare(CONTRACT)
        [chunk] = (await d.put(loader, attempt(), rows(("a", 1, 1)))).chunks
        wrong = manifest_of(WINDOW, [msgspec.structs.replace(chunk, rows=2)])
        with pytest.raises(RestartAttempt, match=chunk.name):
            await loader.copy(attempt(), wrong, CONTRACT)


async def copy_again_begins_with_a_fresh_table(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)))
        again = await staged.loader.copy(attempt(), staged.manifest, CONTRACT)
        assert again.table == staged.table
        assert len(d.place.stage_rows(staged.table)) == 1


async def adopt_takes_the_rows_of_a_span(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        identity = await loader.prepare(CONTRACT)
        await loader.raise_fence(attempt())
        d.place.fill_user_stage(
            rows(("a", 1, 1, START), ("b", 1, 2, START + HOUR), ("c", 1, 3, START + HOUR - MINUTE))
        )
        copied = await loader.adopt(attempt(), CONTRACT, WINDOW, SEEN)
        found = d.place.stage_rows(copied.table)
        assert sorted((row["id"], row[READ_AT]) for row in found) == [("a", SEEN), ("c", SEEN)]
        assert sorted(row[ROW] for row in found) == [0, 1]
        assert copied.rows == 2
        receipt = await loader.merge(attempt(), manifest_of(WINDOW, []), CONTRACT, copied.table, identity)
        assert receipt.counts.inserted == 2


async def adopt_names_what_is_missing(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await loader.prepare(CONTRACT)
        await loader.raise_fence(attempt())
        with pytest.raises(ConfigurationError, match=r"(?i)events_stage"):
            await loader.adopt(attempt(), CONTRACT, WINDOW, SEEN)
        d.place.fill_user_stage(rows(("a", 1, 1)).select(["id", "at", "value"]))
        with pytest.raises(ConfigurationError, match="version"):
            await loader.adopt(attempt(), CONTRACT, WINDOW, SEEN)


async def counts_follow_what_was_taken_away(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1), ("b", 1, 2)), rows(("c", 1, 3)))
        before = await staged.counts()
        assert (before.staged_files, before.staged_rows, before.stage_rows, before.target_rows) == (2, 3, 3, 0)
        await staged.merge()
        assert (await staged.counts()).target_rows == 3
        d.place.remove_file(staged.manifest.chunks[0].name)
        d.place.remove_row("a")
        after = await staged.counts()
        assert (after.staged_files, after.staged_rows, after.target_rows) == (1, 1, 2)
        assert after.target_identity == staged.identity
        d.place.remove_stage_row(staged.table, "b")
        assert (await staged.counts()).stage_rows == 2


async def counts_are_none_where_the_thing_is_gone(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)))
        await staged.merge()
        without = await staged.loader.counts(attempt(), staged.manifest, None)
        assert (without.stage_rows, without.target_rows) == (None, None)
        d.place.drop_target()
        gone = await staged.counts()
        assert (gone.stage_rows, gone.target_rows, gone.target_identity) == (1, None, None)


async def a_target_row_answers_at_its_order_or_a_newer_one(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 5, 1), ("b", 5, 1), ("c", 5, 1)))
        await staged.merge()
        d.place.change_row("a", version=4)
        d.place.change_row("b", version=6)
        assert (await staged.counts()).target_rows == 2


async def in_append_mode_the_runs_own_rows_answer(make) -> None:
    async with desk(make) as d:
        loader = d.loader(**APPEND)
        staged = await d.stage(loader, attempt(), rows(("a", 1, 1), ("a", 1, 1), ("b", 1, 1)))
        await staged.merge()
        await d.load(loader, attempt(2, NEXT), rows(("z", 1, 1, START + HOUR)))
        d.place.add_row({"id": "x", "at": START})
        d.place.remove_row("b")
        assert (await staged.counts()).target_rows == 2


async def held_counts_keys_of_the_stage_whoever_wrote_them(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1), ("a", 2, 1), ("b", 1, 1), ("c", 1, 1)))
        for key in ("a", "b", "z"):
            d.place.add_row({"id": key, "at": START, "version": 0})
        assert await staged.loader.held(attempt(), staged.table) == Held(3, 2)
        assert await staged.loader.held(attempt(), f"{staged.table}_gone") is None


async def held_counts_rows_of_the_window_in_append_mode(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(**APPEND), attempt(), rows(("a", 1, 1), ("a", 1, 1)))
        for at in (START, START + MINUTE, START + HOUR):
            d.place.add_row({"id": "a", "at": at})
        assert await staged.loader.held(attempt(), staged.table) == Held(2, 2)


async def clean_removes_this_run_and_no_other(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        other = await d.stage(loader, attempt(1, NEXT), rows(("z", 1, 1, START + HOUR)))
        first = await d.stage(loader, attempt(2), rows(("a", 1, 1)), rows(("b", 1, 1)))
        again = await d.stage(loader, attempt(3), rows(("a", 1, 1)))
        both = manifest_of(WINDOW, [*first.manifest.chunks, *again.manifest.chunks])
        assert await loader.clean(attempt(3), both, None) == 3
        assert d.place.files() == [other.manifest.chunks[0].name]
        assert d.place.stage_tables() == [other.table]
        assert await loader.clean(attempt(3), both, None) == 0


async def clean_archives_before_it_removes(make) -> None:
    async with desk(make) as d:
        loader, archive = d.loader(), d.folder / "archive"
        staged = await d.stage(loader, attempt(), rows(("a", 1, 1)))
        for _ in range(2):
            await loader.clean(attempt(), staged.manifest, ArchivePlace(str(archive)))
            [chunk] = staged.manifest.chunks
            assert (archive / chunk.name).read_bytes() == (d.folder / "1.parquet").read_bytes()
        assert d.place.files() == []


async def clean_keeps_what_it_could_not_archive(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)))
        (d.folder / "blocked").write_text("a file where the archive should be")
        with pytest.raises(ConfigurationError, match="blocked"):
            await staged.loader.clean(attempt(), staged.manifest, ArchivePlace(str(d.folder / "blocked")))
        assert d.place.files() == [chunk.name for chunk in staged.manifest.chunks]


async def clean_misses_what_is_neither_staged_nor_archived(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        staged = await d.stage(loader, attempt(), rows(("a", 1, 1)), rows(("b", 1, 1)))
        first, second = (chunk.name for chunk in staged.manifest.chunks)
        d.place.remove_file(second)
        with pytest.raises(PermanentError, match=second):
            await loader.clean(attempt(), staged.manifest, ArchivePlace(str(d.folder)))
        assert (d.folder / first).is_file()
        assert d.place.files() == [first]


def soon() -> datetime:
    """Everything here is older than this."""
    return datetime.now(UTC) + timedelta(hours=1)


async def sweep_keeps_what_is_named(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        kept = await d.stage(loader, attempt(1), rows(("a", 1, 1)))
        orphan = await d.stage(loader, attempt(2, NEXT), rows(("b", 1, 1, START + HOUR)))
        runs = [kept.attempt.run, orphan.attempt.run]
        assert await loader.sweep(runs, [kept.manifest], [kept.table], soon()) == 2
        assert d.place.files() == [chunk.name for chunk in kept.manifest.chunks]
        assert d.place.stage_tables() == [kept.table] != [orphan.table]
        assert await loader.sweep(runs, [kept.manifest], [kept.table], soon()) == 0


async def sweep_leaves_what_is_young(make) -> None:
    async with desk(make) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)))
        assert await staged.loader.sweep([attempt().run], [], [], datetime.now(UTC) - timedelta(hours=1)) == 0
        assert d.place.stage_tables() == [staged.table]
        assert len(d.place.files()) == 1


async def sweep_leaves_other_runs_alone(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        other = await d.stage(loader, attempt(1, NEXT), rows(("b", 1, 1, START + HOUR)))
        theirs = await d.stage(d.loader(pipeline="q"), attempt(pipeline="q"), rows(("a", 1, 1)))
        await d.stage(loader, attempt(2), rows(("a", 1, 1)))
        assert await loader.sweep([], [], [], soon()) == 0
        assert await loader.sweep([attempt(2).run], [], [], soon()) == 2
        assert d.place.stage_tables() == sorted([other.table, theirs.table])
        assert d.place.files() == sorted(chunk.name for run in (other, theirs) for chunk in run.manifest.chunks)


async def runs_that_have_anything_staged_are_told(make) -> None:
    async with desk(make) as d:
        loader, theirs = d.loader(), d.loader(pipeline="q")
        assert set(await loader.staged_runs()) == set()
        both = await d.stage(loader, attempt(1), rows(("a", 1, 1)))
        file = await d.put(loader, attempt(2, NEXT), rows(("b", 1, 1, START + HOUR)))
        await d.put(theirs, attempt(pipeline="q"), rows(("c", 1, 1)))
        assert set(await loader.staged_runs()) == {attempt().run.hash, attempt(2, NEXT).run.hash}
        d.place.remove_file(both.manifest.chunks[0].name)
        assert set(await loader.staged_runs()) == {attempt().run.hash, attempt(2, NEXT).run.hash}
        await loader.sweep([attempt().run], [], [], soon())
        assert set(await loader.staged_runs()) == {attempt(2, NEXT).run.hash}
        d.place.remove_file(file.chunks[0].name)
        assert set(await loader.staged_runs()) == set()


async def what_a_fenced_attempt_left_of_a_run_that_was_cleaned_is_swept(make) -> None:
    async with desk(make) as d:
        fenced = await d.stage(d.loader(), attempt(1), rows(("a", 1, 1)))
        loader = d.loader()
        staged = await d.stage(loader, attempt(2), rows(("a", 1, 1)))
        await staged.merge()
        await loader.clean(attempt(2), staged.manifest, None)
        chunk, path = d.file(attempt().run, rows(("a", 1, 1)))
        await fenced.loader.put(attempt(1), chunk, path)
        await fenced.loader.copy(attempt(1), manifest_of(WINDOW, [chunk]), CONTRACT)
        assert set(await loader.staged_runs()) == {attempt().run.hash}
        assert await loader.sweep([attempt().run], [], [], soon()) == 2
        assert (d.place.files(), d.place.stage_tables()) == ([], [])
        assert d.values() == {"a": 1}


async def aclose_is_harmless_when_repeated(make) -> None:
    async with desk(make) as d:
        loader = d.loader()
        await loader.prepare(CONTRACT)
        await loader.aclose()
        await loader.aclose()
        assert d.place.columns() == SCHEMA.names


CLAUSES = {
    clause.__name__: clause
    for clause in (
        put_is_repeatable_and_looks_at_what_arrived,
        put_refuses_other_bytes,
        copy_loads_exactly_the_manifest,
        copy_of_nothing_is_an_empty_table,
        copy_names_a_file_that_is_gone,
        copy_names_a_file_that_was_changed,
        copy_names_a_file_with_other_rows_than_the_manifest,
        copy_again_begins_with_a_fresh_table,
        adopt_takes_the_rows_of_a_span,
        adopt_names_what_is_missing,
        counts_follow_what_was_taken_away,
        counts_are_none_where_the_thing_is_gone,
        a_target_row_answers_at_its_order_or_a_newer_one,
        in_append_mode_the_runs_own_rows_answer,
        held_counts_keys_of_the_stage_whoever_wrote_them,
        held_counts_rows_of_the_window_in_append_mode,
        clean_removes_this_run_and_no_other,
        clean_archives_before_it_removes,
        clean_keeps_what_it_could_not_archive,
        clean_misses_what_is_neither_staged_nor_archived,
        sweep_keeps_what_is_named,
        sweep_leaves_what_is_young,
        sweep_leaves_other_runs_alone,
        runs_that_have_anything_staged_are_told,
        what_a_fenced_attempt_left_of_a_run_that_was_cleaned_is_swept,
        aclose_is_harmless_when_repeated,
    )
}
