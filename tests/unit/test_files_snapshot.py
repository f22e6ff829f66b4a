"""Files change or vanish while they are read, rows lack a cursor, readers stop: nothing is lost in silence."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from contextlib import aclosing, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.batches import bounded
from connectors.files.connector import FilesConnector
from connectors.files.listing import SourceFile, list_files, reading
from state.errors import ConfigurationError, ContractError, PermanentError, RestartAttempt, TransientError
from state.model import SnapshotKind, Window
from tests.contract.connector import SECOND, every_second, rows_at
from tests.contract.connector_worlds import TYPES, WRITERS
from tests.unit.files import DAY, START, read_with, settings, using

LATER = Window(START.replace(hour=12), START.replace(hour=13))


def put(folder: Path, format_: str, rows: pa.Table, name: str = "a") -> Path:
    path = folder / f"{name}.{format_}"
    WRITERS[format_](rows, path)
    return path


def over(folder: Path, format_: str = "parquet", **given):
    types = {} if format_ == "parquet" else TYPES
    return settings(folder / "*", format=format_, types=types, **given)


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


def touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def vanish(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    """By another file of the same size and time."""
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("format_", WRITERS)
@pytest.mark.parametrize("when", ["before", "between"])
@pytest.mark.parametrize("do", [change, touch, cut, vanish, replace])
def test_a_file_that_is_not_what_was_listed_restarts_the_attempt(tmp_path, format_, when, do):
    path = put(tmp_path, format_, every_second(30))
    put(tmp_path, format_, every_second(30), "b")

    async def act(connector: FilesConnector):
        async with connector.open(DAY) as snapshot, aclosing(snapshot.batches()) as batches:
            assert snapshot.count == 60
            if when == "before":
                do(path)
            await anext(batches)
            do(tmp_path / f"b.{format_}")
            async for _batch in batches:
                pass

    named = "a" if when == "before" else "b"
    with pytest.raises(RestartAttempt, match=rf"/{named}\.{format_}") as caught:
        using(over(tmp_path, format_), act)
    assert caught.value.code == "file_changed"


@pytest.mark.parametrize("format_", WRITERS)
def test_a_file_that_changes_between_its_own_batches_restarts_the_attempt(tmp_path, format_, monkeypatch):
    """Its last batch is not the end: it is looked at once more."""
    monkeypatch.setattr("connectors.batches.WANTED_BYTES", 100)
    path = put(tmp_path, format_, every_second(30))

    async def act(connector: FilesConnector):
        async with connector.open(DAY) as snapshot, aclosing(snapshot.batches()) as batches:
            await anext(batches)
            touch(path)
            return [batch.num_rows async for batch in batches]

    with pytest.raises(RestartAttempt, match="changed while it was read"):
        using(over(tmp_path, format_), act)


async def test_nothing_of_a_file_that_changed_before_is_handed_out(tmp_path):
    path = put(tmp_path, "parquet", every_second(30))
    async with aclosing(FilesConnector(over(tmp_path))) as connector, connector.open(DAY) as snapshot:
        touch(path)
        with pytest.raises(RestartAttempt):
            await anext(snapshot.batches())


def test_batches_are_cut_and_filled_to_a_size(monkeypatch):
    monkeypatch.setattr("connectors.batches.WANTED_BYTES", 1_000)
    sizes = [0, 3, 40_000, 1, 1, 1, 10]
    table = pa.table({"n": pa.array(range(sum(sizes)), pa.int64())})
    [whole] = table.to_batches()
    given = [whole.slice(sum(sizes[:n]), size) for n, size in enumerate(sizes)]
    found = list(bounded(given))
    assert pa.Table.from_batches(found) == table
    assert all(1_000 <= batch.nbytes < 2_000 for batch in found[:-1])
    [large] = bounded([pa.record_batch({"s": ["x" * 5_000]})])
    assert large.num_rows == 1


def test_a_file_that_is_put_later_is_not_in_the_snapshot_and_no_error(tmp_path):
    put(tmp_path, "parquet", every_second(30))

    async def act(connector: FilesConnector):
        async with connector.open(DAY) as snapshot:
            put(tmp_path, "parquet", every_second(30), "b")
            rows = sum([batch.num_rows async for batch in snapshot.batches()])
        return snapshot.kind, snapshot.count, rows, await connector.count(DAY)

    assert using(over(tmp_path), act) == (SnapshotKind.IMMUTABLE_FILE, 30, 30, 60)


def test_a_file_outside_of_the_range_may_change_once_it_is_known(tmp_path):
    path = put(tmp_path, "parquet", every_second(30))
    put(tmp_path, "parquet", rows_at([13 * 3600 * SECOND - SECOND]), "b")

    async def act(connector: FilesConnector):
        async with connector.open(LATER) as snapshot:
            change(path)
            return snapshot.count, sum([batch.num_rows async for batch in snapshot.batches()])

    assert using(over(tmp_path), act) == (1, 1)


def test_a_file_outside_of_the_range_is_read_only_once(tmp_path):
    put(tmp_path, "csv", every_second(30))
    put(tmp_path, "csv", rows_at([12 * 3600 * SECOND]), "b")
    looked = []

    async def act(connector: FilesConnector):
        own = connector._format.cursors
        connector._format.cursors = lambda file: (looked.append(Path(file.path).stem), own(file))[1]
        for _ in range(3):
            async with connector.open(LATER) as snapshot:
                assert snapshot.count == sum([batch.num_rows async for batch in snapshot.batches()]) == 1

    using(over(tmp_path, "csv"), act)
    assert looked == ["a", "b", "b", "b"]


def test_a_damaged_file_is_permanent_and_named(tmp_path):
    path = put(tmp_path, "parquet", every_second(30))
    cut(path)
    with pytest.raises(PermanentError, match=str(path)) as caught:
        using(over(tmp_path), lambda connector: connector.contract())
    assert caught.value.code == "damaged_file"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError(errno.EACCES, "no"), ConfigurationError),
        (OSError(errno.EIO, "bad disk"), TransientError),
        (OSError("corrupt data"), PermanentError),
        (pa.ArrowInvalid("corrupt data"), PermanentError),
        (FileNotFoundError(errno.ENOENT, "gone"), TransientError),
    ],
)
def test_errors_of_reading_are_sorted_by_what_to_do_next(tmp_path, error, kind):
    file = SourceFile.at(str(put(tmp_path, "parquet", every_second(1))))
    with pytest.raises(kind, match=r"a\.parquet"), reading(file):
        raise error
    Path(file.path).unlink()
    with pytest.raises(RestartAttempt, match="vanished"):
        file.require_unchanged()


@pytest.mark.parametrize("format_", WRITERS)
async def test_rows_without_a_cursor_are_an_error_with_their_number(tmp_path, format_):
    put(tmp_path, format_, rows_at([SECOND, None, None]))
    put(tmp_path, format_, rows_at([None]), "b")
    async with aclosing(FilesConnector(over(tmp_path, format_))) as connector:
        for act in (connector.count(DAY), connector.plan(DAY, 10), read_with(connector, DAY)):
            with pytest.raises(ContractError, match=r"3 rows .* no value in their cursor 'at'") as caught:
                await act
            assert "null_cursor: ignore" in caught.value.hint
        [_, check] = await connector.check()
    assert (check.ok, check.name) == (False, "source cursor")
    assert "4 rows, 3 of them without a value in 'at'" in check.found


@pytest.mark.parametrize("format_", WRITERS)
async def test_rows_without_a_cursor_are_left_out_and_reported_if_that_is_declared(tmp_path, format_):
    put(tmp_path, format_, rows_at([SECOND, None, None]))
    put(tmp_path, format_, rows_at([None]), "b")
    async with aclosing(FilesConnector(over(tmp_path, format_, null_cursor="ignore"))) as connector:
        async with connector.open(DAY) as snapshot:
            rows = sum([batch.num_rows async for batch in snapshot.batches()])
        assert (snapshot.count, rows, dict(snapshot.touched)) == (1, 1, {"at": 3})
        assert all(check.ok for check in await connector.check())


@pytest.mark.parametrize("format_", WRITERS)
def test_nothing_blocks_the_event_loop(tmp_path, format_, monkeypatch):
    """Listing, counting and decoding happen in other threads."""
    put(tmp_path, format_, every_second(30))
    here, threads = threading.get_ident(), set()

    def noting(function):
        def noted(*args):
            threads.add(threading.get_ident())
            return function(*args)

        return noted

    monkeypatch.setattr("connectors.files.connector.list_files", noting(list_files))

    async def act(connector: FilesConnector):
        for name in ("columns", "cursors", "rows"):
            monkeypatch.setattr(connector._format, name, noting(getattr(connector._format, name)))
        await connector.check()
        await connector.plan(DAY, 10)
        await read_with(connector, DAY)

    using(over(tmp_path, format_), act)
    assert threads
    assert here not in threads


async def test_a_reader_cancelled_inside_a_step_leaves_its_thread_to_end_and_its_file_closed(tmp_path):
    path = put(tmp_path, "parquet", every_second(30))
    began, go_on = threading.Event(), threading.Event()
    async with aclosing(FilesConnector(over(tmp_path))) as connector:
        await connector.contract()
        own, ended = connector._format.rows, []

        def slow(*args):
            try:
                for batch in own(*args):
                    began.set()
                    go_on.wait(10)
                    yield batch
            finally:
                ended.append(True)

        connector._format.rows = slow
        reader = asyncio.create_task(read_with(connector, DAY))
        await asyncio.to_thread(began.wait, 10)
        reader.cancel()
        await asyncio.sleep(0)
        assert not ended  # the thread is still inside, and the file is not closed under it
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert ended == [True]
        connector._format.rows = own
        assert (await read_with(connector, DAY)).num_rows == 30
    path.unlink()


async def test_a_reader_that_goes_on_after_its_snapshot_is_closed_gets_an_error_and_no_end(tmp_path):
    put(tmp_path, "parquet", every_second(30))
    put(tmp_path, "parquet", every_second(30), "b")
    async with aclosing(FilesConnector(over(tmp_path))) as connector:
        async with connector.open(DAY) as snapshot:
            begun, not_begun = snapshot.batches(), snapshot.batches()
            await anext(begun)
        for batches in (begun, not_begun):
            with pytest.raises(RestartAttempt, match="closed"):
                await anext(batches)


async def test_every_effect_passes_the_port(tmp_path):
    names = []

    @contextmanager
    def port(name):
        names.append(name)
        yield

    put(tmp_path, "parquet", every_second(30))
    async with aclosing(FilesConnector(over(tmp_path), port)) as connector:
        assert await connector.plan(DAY, 100) == [DAY]
        await read_with(connector, DAY)
        await connector.count(LATER)
    assert names == [
        *["source.list", "source.contract", "source.list", "source.plan"],
        *["source.list", "source.read", "source.read"],
        *["source.list", "source.count"],
    ]


def names_found(path: Path | str, **given) -> list[str]:
    async def act(connector: FilesConnector):
        return [Path(file.path).name for file in await connector._list()]

    return using(settings(path, **given), act)


def test_a_path_is_a_file_a_folder_or_a_pattern(tmp_path):
    deep = tmp_path / "day=1" / "hour=2"
    deep.mkdir(parents=True)
    for path in ("b.parquet", "a.parquet", "note.txt", "day=1/c.parquet", "day=1/hour=2/d.parquet", ".e.parquet"):
        pq.write_table(every_second(1), tmp_path / path)
    (tmp_path / "x[1].parquet").write_bytes((tmp_path / "a.parquet").read_bytes())
    assert names_found(tmp_path / "*.parquet") == ["a.parquet", "b.parquet", "x[1].parquet"]
    assert names_found(tmp_path / "day=1") == ["c.parquet", "d.parquet"]
    assert names_found(tmp_path / "**" / "?.parquet") == ["a.parquet", "b.parquet", "c.parquet", "d.parquet"]
    assert names_found(tmp_path / "note.txt") == ["note.txt"]
    assert names_found(tmp_path / "x[1].parquet") == ["x[1].parquet"]


@pytest.mark.parametrize("path", ["*.parquet", ".", "nowhere/*.parquet", "none.parquet"])
@pytest.mark.parametrize("format_", WRITERS)
async def test_a_path_without_files_is_an_error_of_the_configuration(tmp_path, path, format_):
    given = over(tmp_path, format_).model_copy(update={"path": str(tmp_path / path)})
    async with aclosing(FilesConnector(given)) as connector:
        for act in (connector.contract(), connector.plan(DAY, 10), connector.count(DAY), read_with(connector)):
            with pytest.raises(ConfigurationError, match=r"no .* file is found") as caught:
                await act
            assert caught.value.path == "source_system.path"
        [check] = await connector.check()
    assert (check.name, check.ok) == ("source files", False)


async def test_checks_say_what_was_found(tmp_path):
    at = pa.array([START.replace(tzinfo=None), None], pa.timestamp("us"))
    pq.write_table(pa.table({"at": at}), tmp_path / "a.parquet")
    async with aclosing(FilesConnector(over(tmp_path, null_cursor="ignore"))) as connector:
        found = {check.name: check for check in await connector.check()}
    assert found["source files"].found.startswith("1 parquet files, ")
    assert found["source cursor"].found == (
        "2 rows, 1 of them without a value in 'at'; from 2025-11-15T00:00Z to 2025-11-15T00:00Z"
        "; instants without a zone are read as UTC"
    )
