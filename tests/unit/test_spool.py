"""The spool folder: one owner, a quota that cannot deadlock, no orphans, nothing left by whatever ends early."""

import asyncio
import errno
import os
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loaders import chunk_file, parquet
from loaders.parquet import ChunkLimits, ChunkWriter, footer_rows
from loaders.spool import Quota, Spool
from state.contract import READ_AT, Contract, json_field
from state.errors import ContractError, TransientError

READ = datetime(2025, 11, 15, 10, 0, 0, 123456, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("text", pa.string()),
        json_field("doc"),
    ]
)
CONTRACT = Contract(SCHEMA, "at", ("id",))


def rows(first: int, count: int) -> pa.RecordBatch:
    ids = range(first, first + count)
    instants = [datetime(2025, 1, 1, tzinfo=UTC).replace(microsecond=i % 1000) for i in ids]
    columns = [list(ids), instants, [f"text {i * 7919}" for i in ids], ['{"a": 1.10}'] * count]
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


class Stage:
    """Where chunks are delivered to; `gate` holds deliveries back, `error` fails them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def put(self, chunk, path):
        await self.gate.wait()
        if self.error:
            raise self.error
        self.files[chunk.name] = path.read_bytes()


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "spool", 1 << 30)
    made.open()
    yield made
    made.close()


def writer(spool, stage, *, size=1 << 20, count=1_000_000, prefix="flights/abc/p00000"):
    limits = ChunkLimits(size, count)
    return ChunkWriter(spool, CONTRACT, prefix, READ, limits=limits, deliver=stage.put)


def left(spool):
    return sorted(file.name for file in spool.directory.iterdir() if file.name != ".lock")


async def test_chunks_hold_every_row_once_under_names_of_their_content(spool):
    stage = Stage()
    async with writer(spool, stage, count=1000) as out:
        for first in range(0, 2500, 700):
            await out.write(rows(first, min(700, 2500 - first)))
        chunks = await out.finish()
    assert [chunk.rows for chunk in chunks] == [1000, 1000, 500]
    assert [chunk.name.rsplit("-", 1)[0] for chunk in chunks] == [f"flights/abc/p00000-0000{n}" for n in range(3)]
    tables = [pq.read_table(pa.BufferReader(stage.files[chunk.name])) for chunk in chunks]
    assert pa.concat_tables(tables).column("id").to_pylist() == list(range(2500))
    assert set(tables[0].column(READ_AT).to_pylist()) == {READ}
    for chunk in chunks:
        assert len(stage.files[chunk.name]) == chunk.bytes
        assert chunk.name.endswith(f"{chunk.sha256[:12]}.parquet")
    assert chunks[0].min_cursor == datetime(2025, 1, 1, tzinfo=UTC)
    assert chunks[0].max_cursor == datetime(2025, 1, 1, tzinfo=UTC).replace(microsecond=999)
    assert left(spool) == []
    assert spool.quota.used == 0


async def test_equal_rows_give_equal_bytes_however_they_are_cut_into_batches(spool):
    names = []
    for cut in (100, 333, 1000):
        stage = Stage()
        async with writer(spool, stage) as out:
            for first in range(0, 1000, cut):
                await out.write(rows(first, min(cut, 1000 - first)))
            names.append([(chunk.name, chunk.sha256) for chunk in await out.finish()])
    assert names[0] == names[1] == names[2]


async def test_a_chunk_ends_at_its_bytes(spool):
    stage = Stage()
    async with writer(spool, stage, size=4096) as out:
        for first in range(0, 5000, 100):
            await out.write(rows(first, 100))
        chunks = await out.finish()
    assert len(chunks) > 3
    assert sum(chunk.rows for chunk in chunks) == 5000


async def test_no_rows_no_chunk(spool):
    stage = Stage()
    async with writer(spool, stage) as out:
        await out.write(rows(0, 0))
        assert await out.finish() == ()
    assert stage.files == {}


async def test_files_are_private_x10(spool):
    modes = []

    async def put(chunk, path):
        modes.append(stat.S_IMODE(path.stat().st_mode))

    async with ChunkWriter(spool, CONTRACT, "p", READ, limits=ChunkLimits(1 << 20, 10), deliver=put) as out:
        await out.write(rows(0, 10))
        await out.finish()
    assert modes == [0o600]
    assert stat.S_IMODE(spool.directory.stat().st_mode) == 0o700


async def test_awkward_types_go_through_exactly_f12(spool):
    schema = pa.schema(
        [
            pa.field("at", pa.timestamp("ns", "UTC")),
            pa.field("us", pa.timestamp("us")),
            pa.field("big", pa.decimal128(38, 10)),
            pa.field("huge", pa.decimal256(60, 0)),
            pa.field("word", pa.dictionary(pa.int32(), pa.string())),
            pa.field("nothing", pa.string()),
        ]
    )
    from decimal import Decimal

    batch = pa.record_batch(
        [
            pa.array([1, 1_700_000_000_123_456_789, None], schema.field("at").type),
            pa.array(
                [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), None], schema.field("us").type
            ),
            pa.array([Decimal("1.0000000001"), Decimal("-9" * 1), None], schema.field("big").type),
            pa.array([Decimal("9" * 60), Decimal(0), None], schema.field("huge").type),
            pa.array(["x", "y", "x"]).dictionary_encode(),
            pa.array([None, None, None], pa.string()),
        ],
        schema=schema,
    )
    stage = Stage()
    contract = Contract(schema, "at", ())
    async with ChunkWriter(spool, contract, "p", READ, limits=ChunkLimits(1 << 20, 10), deliver=stage.put) as out:
        await out.write(batch)
        (chunk,) = await out.finish()
    back = pq.read_table(pa.BufferReader(stage.files[chunk.name])).drop([READ_AT])
    for name in ("at", "us", "big", "huge", "nothing"):
        assert back.column(name).combine_chunks() == batch.column(name), name
    assert back.column("word").to_pylist() == ["x", "y", "x"]
    assert chunk.max_cursor == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)


async def test_rows_under_other_columns_are_refused(spool):
    stage = Stage()
    async with writer(spool, stage) as out:
        with pytest.raises(ContractError):
            await out.write(rows(0, 3).drop_columns(["text"]))


@pytest.mark.parametrize("how", ["error", "cancel"])
async def test_whatever_ends_a_writer_early_leaves_no_file(spool, how):
    stage = Stage()
    stage.gate.clear()
    started = asyncio.Event()

    async def work():
        async with writer(spool, stage, count=100, size=1024) as out:
            await out.write(rows(0, 150))
            started.set()
            if how == "error":
                raise RuntimeError("the source broke")
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await started.wait()
    assert left(spool)
    if how == "cancel":
        task.cancel()
    with pytest.raises((RuntimeError, asyncio.CancelledError)):
        await task
    assert left(spool) == []
    assert spool.quota.used == 0


async def test_cancelled_in_the_middle_of_compression_leaves_no_file(spool):
    stage = Stage()

    async def work():
        async with writer(spool, stage, count=200_000) as out:
            while True:
                await out.write(rows(0, 20_000))

    for delay in (0.001, 0.02, 0.05, 0.11):
        task = asyncio.create_task(work())
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left(spool) == []
        assert spool.quota.used == 0


async def test_an_error_of_a_delivery_reaches_the_reader(spool):
    stage = Stage()
    stage.error = TransientError("the stage is away")
    with pytest.raises(TransientError, match="the stage is away"):
        async with writer(spool, stage, count=10) as out:
            for first in range(0, 1000, 10):
                await out.write(rows(first, 10))
            await out.finish()
    assert left(spool) == []


async def test_reading_waits_for_a_slow_stage(spool):
    stage = Stage()
    stage.gate.clear()
    async with writer(spool, stage, count=10) as out:

        async def read():
            for first in range(0, 100, 10):
                await out.write(rows(first, 10))

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.2)
        assert len(left(spool)) <= parquet.UNDELIVERED + 1
        stage.gate.set()
        await reading
        assert len(await out.finish()) == 10


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    quota=st.integers(1, 60_000),
    writers=st.lists(st.lists(st.integers(0, 400), min_size=1, max_size=6), min_size=1, max_size=4),
    size=st.sampled_from([1024, 8192, 1 << 20]),
)
def test_parallel_writers_never_deadlock_under_a_tiny_quota(tmp_path_factory, quota, writers, size):
    async def one(spool, stage, number, counts):
        async with writer(spool, stage, size=size, count=300, prefix=f"p{number}") as out:
            first = 0
            for count in counts:
                await out.write(rows(first, count))
                first += count
                await asyncio.sleep(0)
            return sum(chunk.rows for chunk in await out.finish())

    async def all_of_them():
        spool = Spool(tmp_path_factory.mktemp("spool"), quota)
        spool.open()
        stage = Stage()
        work = [one(spool, stage, number, counts) for number, counts in enumerate(writers)]
        totals = await asyncio.wait_for(asyncio.gather(*work), 120)
        assert totals == [sum(counts) for counts in writers]
        assert spool.quota.used == 0
        assert left(spool) == []
        spool.close()

    asyncio.run(all_of_them())


async def test_the_quota_is_kept_by_closing_the_largest_chunk_early(tmp_path):
    spool = Spool(tmp_path, 60_000)
    spool.open()
    most = 0
    stage = Stage()

    async def put(chunk, path):
        nonlocal most
        most = max(most, spool.quota.used)
        await stage.put(chunk, path)

    limits = ChunkLimits(1 << 30, 1_000_000)
    async with ChunkWriter(spool, CONTRACT, "big", READ, limits=limits, deliver=put) as big:
        for first in range(0, 2000, 50):
            await big.write(rows(first, 50))
        chunks = await big.finish()
    assert len(chunks) > 1
    assert most <= 60_000
    spool.close()


async def test_a_full_disk_is_transient_and_leaves_nothing_row47(spool, monkeypatch):
    def full(self, *_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    stage = Stage()
    monkeypatch.setattr(chunk_file.ChunkFile, "append", full)
    with pytest.raises(TransientError) as caught:
        async with writer(spool, stage, count=10) as out:
            await out.write(rows(0, 10))
    assert caught.value.code == "disk_full"
    assert "spool_quota_bytes" in caught.value.hint
    assert left(spool) == []
    assert spool.quota.used == 0


async def test_a_full_disk_met_under_pressure_ends_its_owner_and_nobody_waits_for_ever(tmp_path, monkeypatch):
    spool = Spool(tmp_path, 20_000)
    spool.open()
    stage = Stage()
    async with writer(spool, stage, prefix="a") as a, writer(spool, stage, prefix="b") as b:
        await a.write(rows(0, 100))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space")))
            await asyncio.wait_for(b.write(rows(0, 400)), 5)
        with pytest.raises(TransientError):
            await a.finish()
        assert sum(chunk.rows for chunk in await b.finish()) == 400
    spool.close()


def test_orphans_are_removed_and_strangers_are_not_x10(tmp_path):
    for name in ("p~x-00000.parquet.part", "p~x-00000-abc.parquet", "notes.txt"):
        (tmp_path / name).write_text("x")
    spool = Spool(tmp_path, 1)
    spool.open()
    assert left(spool) == ["notes.txt"]
    spool.close()
    spool.close()


def test_a_second_process_is_told_who_has_the_folder(spool):
    code = (
        "import sys\nfrom pathlib import Path\nfrom loaders.spool import Quota, Spool\n"
        "from state.errors import TransientError\n"
        "try:\n    Spool(Path(sys.argv[1]), 1).open()\n"
        "except TransientError as error:\n    print(error.code)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(spool.directory)], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "spool_in_use"
    with pytest.raises(TransientError, match="another process"):
        Spool(spool.directory, 1).open()


async def test_footer_rows(spool, tmp_path):
    kept = {}

    async def put(chunk, path):
        kept[chunk.name] = footer_rows(path)

    async with ChunkWriter(spool, CONTRACT, "p", READ, limits=ChunkLimits(1 << 20, 7), deliver=put) as out:
        await out.write(rows(0, 10))
        chunks = await out.finish()
    assert kept == {chunk.name: chunk.rows for chunk in chunks}


async def test_spools_share_what_the_process_may_hold_and_close_the_largest_chunk_of_all(tmp_path):
    shared = Quota(60_000)
    most = 0
    stage = Stage()

    async def put(chunk, path):
        nonlocal most
        most = max(most, shared.used)
        await stage.put(chunk, path)

    async def fill(name: str) -> int:
        spool = Spool(tmp_path / name, 1 << 30, shared=shared)
        spool.open()
        limits = ChunkLimits(1 << 30, 1_000_000)
        async with ChunkWriter(spool, CONTRACT, name, READ, limits=limits, deliver=put) as writer:
            for first in range(0, 2000, 50):
                await writer.write(rows(first, 50))
                await asyncio.sleep(0)
            chunks = await writer.finish()
        spool.close()
        return sum(chunk.rows for chunk in chunks)

    assert await asyncio.gather(fill("one"), fill("two")) == [2000, 2000]
    assert 0 < most <= 60_000
    assert shared.used == 0


async def test_rows_that_a_thread_is_moving_into_the_file_are_counted_once(spool, monkeypatch):
    """Another writer's want of room closes the chunk while this one goes on writing."""
    moved, go_on = threading.Event(), threading.Event()
    append = chunk_file.ChunkFile.append

    def slow(file, *given):
        append(file, *given)
        moved.set()
        assert go_on.wait(60)

    monkeypatch.setattr(chunk_file.ChunkFile, "append", slow)
    stage = Stage()
    async with writer(spool, stage, count=300) as out:
        await out.write(rows(0, 200))
        pressed = asyncio.create_task(out.close_early())
        assert await asyncio.to_thread(moved.wait, 60)
        writing = asyncio.create_task(out.write(rows(200, 200)))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(pressed, writing)
        assert sum(chunk.rows for chunk in await out.finish()) == 400


async def test_rows_come_while_those_before_them_are_compressed(spool, monkeypatch):
    go_on, append = threading.Event(), chunk_file.ChunkFile.append

    def slow(file, *given):
        assert go_on.wait(60)
        append(file, *given)

    monkeypatch.setattr(chunk_file.ChunkFile, "append", slow)
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 100)
    stage = Stage()
    async with writer(spool, stage) as out:
        await out.write(rows(0, 100))
        await out.write(rows(100, 50))
        held = out.held
        go_on.set()
        [chunk] = await out.finish()
    assert held == in_memory(150)
    assert pq.read_table(pa.BufferReader(stage.files[chunk.name]))["id"].to_pylist() == list(range(150))
    assert spool.quota.used == 0


def in_memory(count: int) -> int:
    return rows(0, 100).nbytes + rows(100, count - 100).nbytes


async def test_where_a_chunk_ends_hangs_on_no_thread(spool, monkeypatch):
    """By bytes; each piece comes when compression that is at once has ended, and such that is late has not."""
    append, chunks = chunk_file.ChunkFile.append, []
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 500)
    for late in (0.0, 0.02):

        def slow(file, *given, late=late):
            time.sleep(late)
            append(file, *given)

        monkeypatch.setattr(chunk_file.ChunkFile, "append", slow)
        async with writer(spool, Stage(), size=60_000) as out:
            for first in range(0, 20_000, 100):
                await out.write(rows(first, 100))
                await asyncio.sleep(0.002)
            chunks.append(await out.finish())
    assert chunks[0] == chunks[1]
    monkeypatch.setattr(chunk_file.ChunkFile, "append", append)
    assert chunks[0][0].rows == rows_until(spool, 60_000, 500)


def rows_until(spool, size: int, group: int) -> int:
    """How many rows, in groups, make a file of that size."""
    file = chunk_file.ChunkFile(spool.directory / "one", SCHEMA.append(chunk_file.READ_AT_FIELD))
    while file.bytes < size:
        pieces = [rows(first, 100) for first in range(file.rows, file.rows + group, 100)]
        file.append(pieces, "at", pa.scalar(READ, chunk_file.READ_AT_FIELD.type))
    file.remove()
    return file.rows


async def test_a_disk_that_fills_up_while_rows_come_is_told_with_the_next_ones(spool, monkeypatch):
    def full(_file, *_given):
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(chunk_file.ChunkFile, "append", full)
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 100)
    with pytest.raises(TransientError, match="no room"):
        async with writer(spool, Stage()) as out:
            for first in range(0, 300, 100):
                await out.write(rows(first, 100))
    assert (left(spool), spool.quota.used) == ([], 0)
