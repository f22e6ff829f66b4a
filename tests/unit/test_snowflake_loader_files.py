"""Answers of PUT, LIST and COPY as the Snowflake loader takes them: everything of every file, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loaders.snowflake import copying
from loaders.snowflake.files import BLOCK, StageFiles, linked, listed, named_as
from loaders.snowflake.names import names
from loaders.snowflake.schema import Wanted
from loaders.snowflake.settings import SnowflakeStage, SnowflakeTarget
from loaders.spool import Spool
from state.contract import Contract
from state.errors import ConfigurationError, RestartAttempt
from state.model import Attempt, Chunk, Manifest, Part, RunId, Window
from state.port import direct
from state.snowflake.names import parse

TARGET = SnowflakeTarget(type="snowflake", table="db.s.events", key=("id",))
STAGE = SnowflakeStage(stage="db.raw.landing")
TABLE = parse("DB.S.EVENTS")
WHEN = "Tue, 24 Nov 2026 23:00:00 GMT"


class Told:
    """A session that answers what it is told to, and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def put(self, path, location):
        self.asked.append((path.name, location))
        return self.answers.pop(0)

    async def rows(self, sql):
        self.asked.append(sql)
        return []

    async def records(self, sql, **_how):
        self.asked.append(sql)
        return self.answers.pop(0)


def written(folder, name="p/h/x.parquet", rows=3):
    """A chunk and its file, under another name than the chunk's."""
    path = folder / "1.part"
    pq.write_table(pa.table({"a": list(range(rows))}), path)
    data = path.read_bytes()
    return Chunk(name, rows, len(data), hashlib.sha256(data).hexdigest()), path


def uploaded(chunk, **other):
    return {"status": "UPLOADED", "source_size": chunk.bytes, "target_size": chunk.bytes + 9, **other}


def test_a_file_is_put_under_its_chunks_name_and_nothing_is_left_beside_it(tmp_path):
    chunk, path = written(tmp_path)
    session = Told(uploaded(chunk))
    files = StageFiles(names(TARGET, STAGE), direct, large=False)
    staged = asyncio.run(files.put(session, chunk, path))
    assert session.asked == [("x.parquet", '@"DB"."RAW"."LANDING"/p/h/')]
    assert (staged.name, staged.bytes, staged.rows) == (chunk.name, chunk.bytes, 3)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "other", [{"status": "SKIPPED"}, {"status": "FAILED", "message": "no"}, {"source_size": 1}, {"status": None}]
)
def test_anything_but_uploaded_in_full_is_refused_f2(tmp_path, other):
    chunk, path = written(tmp_path)
    files = StageFiles(names(TARGET, STAGE), direct, large=False)
    with pytest.raises(RestartAttempt, match=chunk.name):
        asyncio.run(files.put(Told(uploaded(chunk, **other)), chunk, path))
    assert files.known.get(chunk.name) is None


async def test_a_file_bears_another_name_for_the_time_of_its_upload(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    async with named_as(path, "b") as other:
        assert (other.name, other.is_absolute(), other.read_bytes()) == ("b", True, b"x")
    assert left(tmp_path) == ["a"]
    with pytest.raises(ConfigurationError, match="no such file"):
        await named_as(tmp_path / "gone", "b").__aenter__()
    assert left(tmp_path) == ["a"]


def left(folder):
    return [path.name for path in folder.iterdir()]


def test_what_a_dead_process_was_uploading_is_removed_at_the_next_start_x10(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"x")
    linked(tmp_path / "a.parquet", "b.parquet")
    spool = Spool(tmp_path, 1)
    spool.open()
    spool.close()
    assert left(tmp_path) == [".lock"]


def test_a_padded_file_is_taken_for_its_chunk_and_one_of_another_size_is_not(tmp_path):
    chunk, path = written(tmp_path)
    files = StageFiles(names(TARGET, STAGE), direct, large=False)
    asyncio.run(files.put(Told(uploaded(chunk)), chunk, path))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()

    def kept(size, told):
        record = {
            "name": f"landing/{chunk.name}",
            "size": size,
            "md5": told,
            "last_modified": WHEN,
        }
        return files.found({chunk.name: listed(record)}, [chunk]) == [chunk]

    padded = (chunk.bytes // BLOCK + 1) * BLOCK
    assert kept(chunk.bytes, md5)
    assert kept(chunk.bytes, md5.upper())
    assert kept(chunk.bytes, f"{md5}-2")  # of an upload in parts, which is no MD5
    assert kept(padded, "0" * 32)
    assert not kept(chunk.bytes, "0" * 32)
    assert not kept(chunk.bytes - 1, md5)
    assert not kept(padded + BLOCK, md5)


def answer(chunk, **other):
    row = {
        "file": f"landing/{chunk.name}",
        "status": "LOADED",
        "rows_parsed": 3,
        "rows_loaded": 3,
        "errors_seen": 0,
    }
    return {**row, **other}


COPIES = [
    {"status": "LOAD_SKIPPED", "rows_parsed": 0, "rows_loaded": 0},
    {"status": "PARTIALLY_LOADED"},
    {"status": "LOAD_FAILED"},
    {"rows_loaded": 2},
    {"rows_parsed": 4},
    {"errors_seen": 1},
    {"file": "landing/other.parquet"},
]


class Work:
    """What `load` needs of a call."""

    port = staticmethod(direct)
    names = names(TARGET, STAGE)
    settings = TARGET

    def __init__(self, session):
        self.session = session


@pytest.mark.parametrize("other", COPIES)
def test_anything_but_every_row_of_the_file_is_refused_f6(tmp_path, other):
    chunk, _ = written(tmp_path)
    with pytest.raises(RestartAttempt, match=chunk.name):
        asyncio.run(copying.load(Work(Told([answer(chunk, **other)])), TABLE, [], [chunk]))


def test_a_file_that_nobody_named_is_refused_f6(tmp_path):
    chunk, _ = written(tmp_path)
    told = [answer(chunk), answer(chunk, file="landing/p/h/stray.parquet")]
    with pytest.raises(RestartAttempt, match="stray"):
        asyncio.run(copying.load(Work(Told(told)), TABLE, [], [chunk]))


def test_a_copy_names_its_files_and_fixes_every_option_f4_f7_f8(tmp_path):
    chunk, _ = written(tmp_path)
    session = Told([answer(chunk)])
    column = Wanted('we"ird', 'WE"IRD', "NUMBER(38,0)")
    assert asyncio.run(copying.load(Work(session), TABLE, [column], [chunk])) == {chunk.name: 3}
    [sql] = session.asked
    assert '$1:"we""ird"::NUMBER(38,0)' in sql
    assert f"FILES = ('{chunk.name}')" in sql
    for words in (
        "TYPE = PARQUET",
        "USE_VECTORIZED_SCANNER = TRUE",
        "USE_LOGICAL_TYPE = TRUE",
        "BINARY_AS_TEXT = FALSE",
        "REPLACE_INVALID_CHARACTERS = FALSE",
        "NULL_IF = ()",
        "ON_ERROR = ABORT_STATEMENT",
    ):
        assert words in sql
    assert not any(word in sql for word in ("PATTERN", "FORCE", "PURGE"))


async def test_more_files_than_a_copy_may_name_take_several_f4(tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "MOST_FILES", 2)
    chunks = [written(tmp_path, f"p/h/{n}.parquet")[0] for n in range(5)]
    there = [
        {
            "name": f"landing/{one.name}",
            "size": one.bytes,
            "md5": "",
            "last_modified": WHEN,
        }
        for one in chunks
    ]
    session = Told(there, *([answer(one) for one in chunks[n : n + 2]] for n in (0, 2, 4)))
    contract = Contract(pa.schema([("a", pa.int64())]), "a", ())
    run = RunId("d", "p", Window(datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)), 1)
    manifest = Manifest((Part(run.window, tuple(chunks)),), contract.digest)
    copied = await copying.copy(
        Work(session), StageFiles(Work.names, direct, large=False), Attempt(run, "p_run1", 1), manifest, contract
    )
    assert copied.files == {chunk.name: 3 for chunk in chunks}
    assert [sql.count(".parquet'") for sql in session.asked if sql.startswith("COPY")] == [2, 2, 1]
