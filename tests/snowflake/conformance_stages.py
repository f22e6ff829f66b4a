"""Clauses about stages and their files."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from tests.snowflake.conformance import Site, clause, fails, put, records, rows

PUT, LIST, REMOVE, GET = (
    "sql-reference/sql/put",
    "sql-reference/sql/list",
    "sql-reference/sql/remove",
    "sql-reference/sql/get",
)
CREATE_STAGE, COPY_FILES = "sql-reference/sql/create-stage", "sql-reference/sql/copy-files"


@clause("PUT answers UPLOADED with the sizes of source and target; a target may be padded", PUT)
async def put_tells_what_was_uploaded(site: Site) -> None:
    (site.folder / "a.bin").write_bytes(b"12345")
    async with site.connect() as connection:
        await rows(connection, "CREATE STAGE s")
        record = await put(connection, site.folder / "a.bin", "@s/x/")
        assert (record["source"], record["target"], record["status"]) == ("a.bin", "a.bin", "UPLOADED")
        assert record["source_size"] == 5
        assert 5 <= record["target_size"] <= 5 + 16
        assert (record["source_compression"].upper(), record["target_compression"].upper()) == ("NONE", "NONE")


@clause("PUT without OVERWRITE leaves a file of that name as it is and answers SKIPPED, whatever its content", PUT)
async def put_skips_a_name_that_exists(site: Site) -> None:
    (site.folder / "a.bin").write_bytes(b"12345")
    async with site.connect() as connection:
        await rows(connection, "CREATE STAGE s")
        await put(connection, site.folder / "a.bin", "@s/x/")
        [before] = await records(connection, "LIST @s")
        (site.folder / "a.bin").write_bytes(b"other content")
        record = await put(connection, site.folder / "a.bin", "@s/x/", overwrite=False)
        assert record["status"] == "SKIPPED"
        [after] = await records(connection, "LIST @s")
        assert (after["size"], after["md5"]) == (before["size"], before["md5"])


@clause("PUT with OVERWRITE replaces a file of that name", PUT)
async def put_overwrites_when_told(site: Site) -> None:
    (site.folder / "a.bin").write_bytes(b"12345")
    async with site.connect() as connection:
        await rows(connection, "CREATE STAGE s")
        await put(connection, site.folder / "a.bin", "@s/x/")
        [before] = await records(connection, "LIST @s")
        (site.folder / "a.bin").write_bytes(b"other content of other length")
        assert (await put(connection, site.folder / "a.bin", "@s/x/"))["status"] == "UPLOADED"
        [after] = await records(connection, "LIST @s")
        assert after["size"] != before["size"]


@clause("PUT into a stage that does not exist fails with 002003", PUT)
async def put_needs_its_stage(site: Site) -> None:
    (site.folder / "a.bin").write_bytes(b"1")
    async with site.connect() as connection:
        await fails(connection, 2003, f"PUT 'file://{site.folder}/a.bin' @nowhere")


@clause("LIST tells name, size, md5 and last_modified; a name begins with the stage's in lower case", LIST)
async def list_tells_the_files_of_a_stage(site: Site) -> None:
    (site.folder / "a.bin").write_bytes(b"12345")
    async with site.connect() as connection:
        await rows(connection, "CREATE STAGE Some_Stage ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE')")
        await put(connection, site.folder / "a.bin", "@some_stage/x/y/")
        [record] = await records(connection, "LIST @some_stage")
    assert (record["name"], record["size"]) == ("some_stage/x/y/a.bin", 5)
    assert record["md5"] == hashlib.md5(b"12345").hexdigest()
    assert abs(parsedate_to_datetime(record["last_modified"]) - datetime.now(UTC)) < timedelta(days=1)


@clause("A path of LIST is the beginning of a name, not a folder; nothing found is no error", LIST)
async def list_takes_a_path_as_a_prefix(site: Site) -> None:
    (site.folder / "abc.bin").write_bytes(b"1")
    (site.folder / "abd.bin").write_bytes(b"1")
    async with site.connect() as connection:
        await rows(connection, "CREATE STAGE s")
        await put(connection, site.folder / "abc.bin", "@s/x/")
        await put(connection, site.folder / "abd.bin", "@s/x/")
        assert [row[0] for row in await rows(connection, "LIST @s/x/ab")] == ["s/x/abc.bin", "s/x/abd.bin"]
        assert [row[0] for row in await rows(connection, "LIST @s/x/abc")] == ["s/x/abc.bin"]
        assert [row[0] for row in await rows(connection, "LIST @s PATTERN = '.*d[.]bin'")] == ["s/x/abd.bin"]
        assert await rows(connection, "LIST @s/nothing/") == []


@clause("REMOVE answers one row (name, result) for each file below the path; nothing found is no error", REMOVE)
async def remove_tells_what_it_removed(site: Site) -> None:
    for name in ("a.bin", "b.bin"):
        (site.folder / name).write_bytes(b"1")
    async with site.connect() as connection:
        await rows(connection, "CREATE STAGE s")
        await put(connection, site.folder / "a.bin", "@s/x/")
        await put(connection, site.folder / "b.bin", "@s/y/")
        assert await records(connection, "REMOVE @s/x/") == [{"name": "s/x/a.bin", "result": "removed"}]
        assert [row[0] for row in await rows(connection, "LIST @s")] == ["s/y/b.bin"]
        assert await records(connection, "REMOVE @s/x/") == []


@clause("GET brings a staged file to a folder of this machine", GET)
async def get_downloads(site: Site) -> None:
    (site.folder / "a.bin").write_bytes(b"12345")
    (site.folder / "got").mkdir()
    async with site.connect() as connection:
        await rows(connection, "CREATE STAGE s")
        await put(connection, site.folder / "a.bin", "@s/x/")
        [record] = await records(connection, f"GET @s/x/a.bin 'file://{site.folder}/got/'")
    assert (record["file"], record["size"], record["status"]) == ("a.bin", 5, "DOWNLOADED")
    assert (site.folder / "got" / "a.bin").read_bytes() == b"12345"


@clause("COPY FILES copies the named files below the target path and answers with their new names", COPY_FILES)
async def copy_files_copies_between_stages(site: Site) -> None:
    for name in ("a.bin", "b.bin", "c.bin"):
        (site.folder / name).write_bytes(name.encode())
    async with site.connect() as connection:
        await rows(connection, "CREATE STAGE here")
        await rows(connection, "CREATE STAGE there")
        for name in ("a.bin", "b.bin", "c.bin"):
            await put(connection, site.folder / name, "@here/x/")
        found = await rows(connection, "COPY FILES INTO @there/y/ FROM @here/x/ FILES = ('a.bin', 'b.bin')")
        assert sorted(row[0] for row in found) == ["y/a.bin", "y/b.bin"]
        assert sorted(row[0] for row in await rows(connection, "LIST @there")) == [
            "there/y/a.bin",
            "there/y/b.bin",
        ]
        assert len(await rows(connection, "LIST @here")) == 3


@clause(
    "CREATE STAGE fails with 002002 if there is one; IF NOT EXISTS keeps it, OR REPLACE empties it", CREATE_STAGE
)
async def create_stage_keeps_or_replaces(site: Site) -> None:
    (site.folder / "a.bin").write_bytes(b"1")
    async with site.connect() as connection:
        await rows(connection, "CREATE STAGE s COMMENT = 'mine'")
        await put(connection, site.folder / "a.bin", "@s")
        await fails(connection, 2002, "CREATE STAGE s")
        await rows(connection, "CREATE STAGE IF NOT EXISTS s")
        assert len(await rows(connection, "LIST @s")) == 1
        [record] = await records(connection, f"SHOW STAGES LIKE 'S' IN SCHEMA {site.database}.{site.schema}")
        assert (record["name"], record["comment"], record["type"]) == ("S", "mine", "INTERNAL")
        await rows(connection, "CREATE OR REPLACE STAGE s")
        assert await rows(connection, "LIST @s") == []
        await rows(connection, "DROP STAGE s")
        await fails(connection, 2003, "LIST @s")
