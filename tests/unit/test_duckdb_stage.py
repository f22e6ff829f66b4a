"""The stage directory and the archive: whole files or none, for their owner only, and what `doctor` sees."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loaders.archive_settings import ArchivePlace
from loaders.disk import disk_error
from state.contract import Contract
from state.errors import ConfigurationError, ContractError, PermanentError, RestartAttempt, TransientError
from tests.contract.loader_desk import CONTRACT, SCHEMA, SEEN, WINDOW, attempt, breaking, desk, rows, table
from tests.contract.loader_worlds import DuckDBPlace


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_files_and_folders_are_for_their_owner_only():
    async with desk(DuckDBPlace) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)))
        path = d.place.stage / staged.manifest.chunks[0].name
        assert mode(path) == 0o600
        assert {mode(folder) for folder in (d.place.stage, path.parent, path.parent.parent)} == {0o700}
        archive = d.folder / "far" / "archive"
        await staged.loader.clean(attempt(), staged.manifest, ArchivePlace(str(archive)))
        assert mode(archive / staged.manifest.chunks[0].name) == 0o600
        assert mode(archive) == 0o700


async def test_a_file_is_there_under_its_name_whole_or_not_at_all():
    async with desk(DuckDBPlace) as d:
        port = breaking("loader.put.rename")
        loader = d.loader(port=port)
        await loader.prepare(CONTRACT)
        chunk, path = d.file(attempt().run, rows(("a", 1, 1)))
        with pytest.raises(TransientError):
            await loader.put(attempt(), chunk, path)
        assert d.place.files() == [chunk.name + ".part"]
        port.broken = False
        assert (await loader.put(attempt(), chunk, path)).rows == 1
        assert d.place.files() == [chunk.name]


async def test_what_a_dead_process_left_half_written_is_cleaned_with_its_run_and_swept_by_age():
    async with desk(DuckDBPlace) as d:
        for clean in (True, False):
            loader = d.loader(port=breaking("loader.put.rename"))
            await loader.prepare(CONTRACT)
            await loader.raise_fence(attempt())
            chunk, path = d.file(attempt().run, rows(("a", 1, 1)))
            with pytest.raises(TransientError):
                await loader.put(attempt(), chunk, path)
            nothing = await d.put(d.loader(), attempt())
            if clean:
                assert await loader.clean(attempt(), nothing, None) == 1
            else:
                assert await loader.sweep([attempt().run], [], [], datetime.now(UTC) + timedelta(hours=1)) == 1
            assert d.place.files() == []


async def test_empty_folders_go_with_their_files_and_others_stay():
    async with desk(DuckDBPlace) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)))
        mine = d.place.stage / "notes.txt"
        mine.write_text("somebody's")
        await staged.loader.clean(attempt(), staged.manifest, None)
        assert list(d.place.stage.iterdir()) == [mine]


async def test_a_file_that_was_changed_is_neither_archived_nor_removed():
    async with desk(DuckDBPlace) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)), rows(("b", 1, 1)))
        first, second = (chunk.name for chunk in staged.manifest.chunks)
        d.place.change_file(second)
        with pytest.raises(PermanentError, match=second):
            await staged.loader.clean(attempt(), staged.manifest, ArchivePlace(str(d.folder / "archive")))
        assert d.place.files() == sorted([first, second])
        assert d.place.stage_tables() == [staged.table]


async def test_a_clean_up_that_was_cut_off_after_archiving_goes_on():
    async with desk(DuckDBPlace) as d:
        archive = d.folder / "archive"
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)), rows(("b", 1, 1)))
        cut = d.loader(port=breaking("loader.clean.file"))
        with pytest.raises(TransientError):
            await cut.clean(attempt(), staged.manifest, ArchivePlace(str(archive)))
        d.place.remove_file(staged.manifest.chunks[0].name)
        assert await staged.loader.clean(attempt(), staged.manifest, ArchivePlace(str(archive))) == 1
        assert all((archive / chunk.name).is_file() for chunk in staged.manifest.chunks)


async def test_a_stage_table_whose_maker_died_before_dating_it_is_swept():
    async with desk(DuckDBPlace) as d:
        staged = await d.stage(d.loader(), attempt(), rows(("a", 1, 1)))
        d.place.query(f'COMMENT ON TABLE "{staged.table}" IS NULL')
        d.place.query("CREATE TABLE events_stage_0123456789ab_A1 AS SELECT 1 AS x")
        assert await staged.loader.sweep([attempt().run], [staged.manifest], [], SEEN - timedelta(days=999)) == 1
        assert d.place.stage_tables() == ["events_stage_0123456789ab_A1"]  # none of these runs


async def test_a_file_of_other_columns_is_read_again():
    narrow = SCHEMA.remove(3)
    async with desk(DuckDBPlace) as d:
        loader = d.loader()
        await loader.prepare(CONTRACT)
        manifest = await d.put(loader, attempt(), table(narrow, {"id": "a", "version": 1}))
        with pytest.raises(RestartAttempt) as caught:
            await loader.copy(attempt(), manifest, CONTRACT)
        assert caught.value.code == "stage_file_columns"
        await loader.copy(attempt(), manifest, Contract(narrow, "at", ("id",)))


async def test_a_user_stage_of_other_types_is_refused_by_name():
    async with desk(DuckDBPlace) as d:
        loader = d.loader()
        await loader.prepare(CONTRACT)
        d.place.query('CREATE TABLE events_stage (id VARCHAR, "at" TIMESTAMPTZ, version INTEGER, value VARCHAR)')
        with pytest.raises(ContractError, match=r"value .* VARCHAR"):
            await loader.adopt(attempt(), CONTRACT, WINDOW, SEEN)
        d.place.query("ALTER TABLE events_stage ALTER value TYPE INTEGER")
        assert (await loader.adopt(attempt(), CONTRACT, WINDOW, SEEN)).rows == 0


@pytest.mark.parametrize(
    ("number", "becomes", "code"),
    [
        (errno.ENOSPC, TransientError, "disk_full"),
        (errno.EDQUOT, TransientError, "disk_full"),
        (errno.EIO, TransientError, "disk"),
        (errno.EMFILE, TransientError, "disk"),
        (errno.EACCES, ConfigurationError, "stage"),
        (errno.EROFS, ConfigurationError, "stage"),
        (errno.ENOTDIR, ConfigurationError, "stage"),
    ],
)
def test_an_error_of_the_disk_is_told_by_what_to_do_next(number, becomes, code):
    error = disk_error(Path("/stage"), "stage_system.directory", OSError(number, os.strerror(number)))
    assert (type(error), error.code) == (becomes, code)
    assert "/stage" in error.message
    assert error.hint


async def test_doctor_sees_a_stage_that_cannot_be_made_and_leaves_nothing(tmp_path):
    async with desk(DuckDBPlace) as d:
        d.place.stage = d.folder / "file" / "stage"
        (d.folder / "file").write_text("no folder")
        found = {check.name: check for check in await d.loader().check()}
        assert not found["stage_system.directory"].ok
        assert "stage_system.directory" in found["stage_system.directory"].hint
        assert found["target_system.database"].ok
        assert not d.place.database.exists()
        assert found["duckdb"].found.startswith("version ")


async def test_doctor_tells_the_columns_that_will_be_added():
    async with desk(DuckDBPlace) as d:
        d.place.database.parent.mkdir()
        d.place.query("CREATE TABLE events (id VARCHAR)")
        found = {check.name: check for check in await d.loader().check()}
        assert "1 columns" in found["target_system.table"].found
        assert found["target_system columns"].found == "version, _sluiceway_read_at, at will be added"
        assert d.place.columns() == ["id"]
        (d.place.database).write_bytes(b"no database" * 2000)
        broken = {check.name: check for check in await d.loader().check()}["target_system.database"]
        assert not broken.ok
        assert broken.hint
