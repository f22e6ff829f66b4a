"""What can be read of a MariaDB, and what is refused: names, views, queries, cursors, keys, engines, scans."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from connectors.mysql.connector import MysqlConnector
from connectors.mysql.settings import MysqlSettings
from state.contract import Contract
from state.errors import ConfigurationError, ContractError, SluicewayError
from state.model import SnapshotKind, Window
from tests.contract.connector import HOUR, SECOND, SPAN, START
from tests.integration.mysql_source import READER, MysqlPlace

ALWAYS = Window(datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@pytest.fixture
def place(mariadb) -> MysqlPlace:
    return MysqlPlace(mariadb)


async def contract_of(settings: MysqlSettings) -> Contract:
    async with aclosing(MysqlConnector(settings)) as source:
        return await source.contract()


async def refusal(settings: MysqlSettings, kind: type[SluicewayError] = ConfigurationError) -> SluicewayError:
    """The error of a source whose contract, or whose plan, is refused."""
    async with aclosing(MysqlConnector(settings)) as source:
        with pytest.raises(kind) as found:
            await source.plan(SPAN, 10)
    return found.value


async def read(settings: MysqlSettings, span: Window = SPAN) -> list[dict]:
    """The rows of a span; as many as were counted."""
    async with aclosing(MysqlConnector(settings)) as source:
        schema = (await source.contract()).schema
        async with source.open(span) as snapshot, aclosing(snapshot.batches()) as batches:
            rows = pa.Table.from_batches([batch async for batch in batches], schema).to_pylist()
        assert snapshot.count in (len(rows), None)
    return rows


ODD = ["odd `name`", 'double "quote"', "it's", "100 %s", "a,b;c -- d", "日本", "select", "back\\slash"]


async def test_names_may_hold_whatever_the_server_allows(place):
    """Of columns and of the table."""
    quoted = ["`" + name.replace("`", "``") + "`" for name in ODD]
    place.sql(
        f"CREATE TABLE `t ``of' %s` (at DATETIME(6) NOT NULL, {', '.join(f'{q} INT' for q in quoted)}, KEY (at))"
    )
    place.sql(
        f"INSERT INTO `t ``of' %s` VALUES (%s, {', '.join(map(str, range(len(ODD))))})".replace("' %s`", "' %%s`"),
        START,
    )
    settings = place.settings(table="t `of' %s", columns={"rename": {ODD[0]: "plain"}})
    [row] = await read(settings)
    assert row == {"at": START.replace(tzinfo=None), "plain": 0} | {name: n for n, name in enumerate(ODD) if n}


async def test_generated_and_invisible_columns_are_read_and_may_be_left_out(place):
    place.sql(
        "CREATE TABLE t (id INT PRIMARY KEY, at DATE, twice INT AS (id * 2) VIRTUAL, kept INT AS (id * 3) STORED,"
        " hidden INT INVISIBLE DEFAULT 7)"
    )
    place.sql("INSERT INTO t (id, at) VALUES (1, %s)", START)
    day = Window(START, START + 24 * HOUR)
    [row] = await read(place.settings(), day)
    assert row == {"id": 1, "at": date(2025, 11, 15), "twice": 2, "kept": 3, "hidden": 7}
    chosen = {"include": ["id", "at", "*d*"], "exclude": ["hidden"]}
    assert (await contract_of(place.settings(columns=chosen))).schema.names == ["id", "at"]


async def test_hashed_and_masked_values_never_leave_the_server(place):
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, at DATETIME, mail VARCHAR(90), name TEXT, n INT, KEY (at))")
    place.sql("INSERT INTO t VALUES (1, %s, 'zoë@example.com', 'Zoë', 5), (2, %s, NULL, NULL, NULL)", START, START)
    settings = place.settings(columns={"hash": ["mail", "n"], "mask": {"name": "it's \\ 'hidden' %s ✓"}})
    rows = await read(settings)
    sha = [hashlib.sha256(text.encode()).hexdigest() for text in ("zoë@example.com", "5")]
    assert rows == [
        {"id": 1, "at": START.replace(tzinfo=None), "mail": sha[0], "name": "it's \\ 'hidden' %s ✓", "n": sha[1]},
        {"id": 2, "at": START.replace(tzinfo=None), "mail": None, "name": None, "n": None},
    ]


async def test_only_rows_of_the_filter_are_read_and_counted(place):
    """A comment in it hides nothing of what follows."""
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, at DATETIME, kind VARCHAR(9), KEY (at))")
    place.sql("INSERT INTO t VALUES (1, %s, 'a'), (2, %s, 'b'), (3, NULL, 'b'), (4, %s, 'a')", *[START] * 3)
    settings = place.settings(where="kind = 'a' OR id = 4 -- not 'b'")
    assert [row["id"] for row in await read(settings)] == [1, 4]
    async with aclosing(MysqlConnector(settings)) as source:
        assert await source.count(SPAN) == 2


async def test_nothing_hides_behind_a_semicolon(place):
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, at DATETIME, KEY (at))")
    settings = place.settings(where="1 = 1); DROP TABLE t; -- ")
    with pytest.raises(ConfigurationError) as found:
        await read(settings)
    assert (found.value.code, found.value.path) == ("1064", "source_system.where")


@pytest.mark.parametrize(
    "type_", ["TIMESTAMP", "TIMESTAMP(3)", "TIMESTAMP(6)", "DATETIME", "DATETIME(3)", "DATETIME(6)"]
)
async def test_a_span_holds_the_same_rows_whatever_the_cursors_unit_is(place, type_):
    """Edges that the column cannot hold are rounded up, on both sides."""
    place.sql(f"CREATE TABLE t (id INT PRIMARY KEY, at {type_} NULL, KEY (at))")
    digits = int(type_[-2]) if "(" in type_ else 0
    unit = timedelta(microseconds=10 ** (6 - digits))
    at = [START - unit, START, START + unit, START + 5 * unit]
    place.many("INSERT INTO t VALUES (%s, %s)", [(n, each) for n, each in enumerate(at)])
    tick = timedelta(microseconds=1)
    for span, ids in (
        (Window(START, START + 5 * unit), [1, 2]),
        (Window(START - tick, START + 5 * unit + tick), [1, 2, 3] if unit > tick else [0, 1, 2, 3]),
        (Window(START + tick, START + unit + tick), [2]),
        (ALWAYS, [0, 1, 2, 3]),
    ):
        assert [row["id"] for row in await read(place.settings(), span)] == ids


async def test_a_day_belongs_to_the_span_that_holds_its_midnight(place):
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, at DATE NOT NULL, KEY (at))")
    place.many("INSERT INTO t VALUES (%s, %s)", [(n, START + n * 24 * HOUR) for n in range(3)])
    assert [row["id"] for row in await read(place.settings(), Window(START, START + 25 * HOUR))] == [0, 1]
    assert [row["id"] for row in await read(place.settings(), Window(START + HOUR, START + 24 * HOUR))] == []
    assert [row["id"] for row in await read(place.settings(), ALWAYS)] == [0, 1, 2]
    async with aclosing(MysqlConnector(place.settings())) as source:
        assert len(await source.plan(Window(START, START + 72 * HOUR), 1)) == 3


@pytest.mark.parametrize("null", ["NULL", "NOT NULL"])
async def test_a_zero_date_is_no_cursor_m9(place, null):
    """It is before every window: it is an error, or counted as left out."""
    place.sql(f"CREATE TABLE t (id INT PRIMARY KEY, at DATETIME {null}, KEY (at))")
    place.many("INSERT INTO t VALUES (%s, %s)", [(1, START), (2, "0000-00-00"), (3, "0000-00-00")])
    error = await refusal(place.settings(), ContractError)
    assert (error.code, "2 rows" in error.message) == ("null_cursor", True)
    async with aclosing(MysqlConnector(place.settings(null_cursor="ignore"))) as source:
        async with source.open(SPAN) as snapshot:
            assert (snapshot.count, dict(snapshot.touched)) == (1, {"at": 2})
        assert all(check.ok for check in await source.check())


async def test_another_column_stands_for_a_cursor_that_is_null(place):
    """In the rows, in the count, and where parts are cut."""
    place.sql(
        "CREATE TABLE t (id INT PRIMARY KEY, changed DATETIME(6), made DATETIME(6), KEY (changed), KEY (made))"
    )
    later = START + 600 * SECOND
    rows = [(1, later, START), (2, None, START + SECOND), (3, START - SECOND, START), (4, None, START - SECOND)]
    place.many("INSERT INTO t VALUES (%s, %s, %s)", rows)
    settings = place.settings(cursor="changed", cursor_fallback="made")
    found = {row["id"]: row["changed"] for row in await read(settings)}
    assert found == {1: later.replace(tzinfo=None), 2: (START + SECOND).replace(tzinfo=None)}
    async with aclosing(MysqlConnector(settings)) as source:
        assert [await source.count(part) for part in await source.plan(SPAN, 1)] == [1, 1]
    place.sql("INSERT INTO t VALUES (5, NULL, NULL)")
    assert "1 rows" in (await refusal(settings, ContractError)).message


async def test_the_key_is_the_primary_one_or_a_unique_one_without_null(place):
    place.sql(
        "CREATE TABLE t (a INT, b INT NOT NULL, c INT NOT NULL, at DATETIME, UNIQUE (a), UNIQUE (b, c), KEY (at))"
    )
    assert (await contract_of(place.settings())).key == ("b", "c")
    place.sql("ALTER TABLE t ADD PRIMARY KEY (c)")
    assert (await contract_of(place.settings(columns={"rename": {"c": "id"}}))).key == ("id",)
    assert (await contract_of(place.settings(columns={"exclude": ["c"]}))).key == ()
    assert (await contract_of(place.settings(columns={"hash": ["c"]}))).key == ()


@pytest.mark.parametrize(
    ("given", "words", "path"),
    [
        ({"cursor": "id"}, "no timestamp or date", "source_system.cursor"),
        ({"table": "u"}, "no table", "source_system.table"),
        ({"columns": {"rename": {"x": "y"}}}, "no column 'x'", "source_system.columns.rename"),
        (
            {"columns": {"rename": {"note": "id"}}},
            "2 columns would be called 'id'",
            "source_system.columns.rename",
        ),
        ({"columns": {"rename": {"id": "_sluiceway_run"}}}, "kept for this", "source_system.columns.rename"),
        ({"columns": {"include": ["x*"]}}, "no column is like 'x*'", "source_system.columns"),
        ({"columns": {"types": {"id": "json"}}}, "cannot be read as json", "source_system.columns.types.id"),
        ({"columns": {"on_bad_value": {"x": "null"}}}, "no column 'x'", "source_system.columns.on_bad_value"),
        ({"columns": {"hash": ["at"]}}, "no timestamp or date", "source_system.cursor"),
        ({"cursor_fallback": "x"}, "no column 'x'", "source_system.cursor_fallback"),
        ({"cursor_fallback": "id"}, "is int(11)", "source_system.cursor_fallback"),
        ({"where": "x = 1"}, "Unknown column 'x'", "source_system.where"),
    ],
)
async def test_what_is_configured_and_cannot_be_is_named(place, given, words, path):
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, at DATETIME, note TEXT, KEY (at))")
    error = await refusal(place.settings(**given))
    assert words in error.message
    assert error.path == path


async def test_a_view_is_read_in_the_snapshots_of_its_tables(place):
    place.sql("CREATE TABLE a (id INT PRIMARY KEY, at DATETIME, KEY (at))")
    place.sql("CREATE TABLE b (id INT PRIMARY KEY, note TEXT)")
    place.sql("CREATE VIEW t AS SELECT a.id, at, note FROM a JOIN b USING (id)")
    place.sql("INSERT INTO a VALUES (1, %s), (2, %s)", START, START)
    place.sql("INSERT INTO b VALUES (1, 'x')")
    refused = await refusal(place.settings())
    assert (refused.code, refused.path) == ("1345", "source_system.user")
    place.server.sql(f"GRANT SHOW VIEW ON {place.database}.* TO {READER}@'127.0.0.1'")
    assert await read(place.settings(key=["id"])) == [{"id": 1, "at": START.replace(tzinfo=None), "note": "x"}]
    place.sql("ALTER TABLE b ENGINE = MyISAM")
    assert (await refusal(place.settings())).code == "engine"


@pytest.mark.parametrize(
    "view",
    [
        "SELECT MAX(id) AS id, at FROM a GROUP BY at",
        "SELECT id, at FROM a UNION SELECT id, at FROM a",
        "SELECT DISTINCT id, at FROM a",
        "SELECT id, at FROM `with``in` LIMIT 9",
    ],
)
async def test_a_view_that_the_server_makes_a_table_of_has_the_snapshots_of_its_tables(place, view):
    place.server.sql(f"GRANT SHOW VIEW ON {place.database}.* TO {READER}@'127.0.0.1'")
    place.sql("CREATE TABLE a (id INT PRIMARY KEY, at DATETIME, KEY (at))")
    place.sql("INSERT INTO a VALUES (1, %s)", START)
    place.sql("CREATE VIEW `with``in` AS SELECT id, at FROM a LIMIT 99")
    place.sql(f"CREATE VIEW t AS {view}")
    assert await read(place.settings(key=["id"])) == [{"id": 1, "at": START.replace(tzinfo=None)}]
    place.sql("ALTER TABLE a ENGINE = MyISAM")
    refused = await refusal(place.settings())
    assert (refused.code, "stored by MyISAM" in refused.message) == ("engine", True)


async def test_a_query_is_read_like_a_table(place):
    place.sql(
        "CREATE TABLE a (id BIGINT UNSIGNED PRIMARY KEY, at TIMESTAMP(3) NULL, n DECIMAL(9,4), b BIT(3), KEY (at))"
    )
    place.many(
        "INSERT INTO a VALUES (%s, %s, %s, %s)", [(2**64 - 1, START, "12345.6789", 5), (2, None, None, None)]
    )
    query = (
        "SELECT id, at, n, b, YEAR(at) AS y, CONCAT('é', id) AS text, x'00ff' AS raw FROM a WHERE id > 2 -- all"
    )
    settings = place.settings(query=query, allow_query=True, key=["id"])
    schema = (await contract_of(settings)).schema
    assert [schema.field(name).type for name in ("id", "at", "n", "b")] == [
        pa.decimal128(20, 0),
        pa.timestamp("us", "UTC"),
        pa.decimal128(9, 4),
        pa.int64(),
    ]
    [row] = await read(settings)
    assert (int(row["id"]), row["at"], str(row["n"]), row["b"]) == (2**64 - 1, START, "12345.6789", 5)
    assert (row["y"], row["text"], row["raw"]) == (2025, f"é{2**64 - 1}", b"\0\xff")


async def test_a_query_is_one_select(place):
    place.sql("CREATE TABLE a (id INT PRIMARY KEY, at DATETIME)")
    settings = place.settings(query="SELECT id, at FROM a; DELETE FROM a", allow_query=True)
    assert (await refusal(settings)).code == "1064"


async def test_an_engine_without_snapshots_is_read_only_when_that_is_declared_m3(place):
    """The proof then says that there was no snapshot and no count."""
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, at DATETIME, KEY (at)) ENGINE = MyISAM")
    place.sql("INSERT INTO t VALUES (1, %s)", START)
    error = await refusal(place.settings())
    assert (error.code, error.path, "MyISAM" in error.message) == ("engine", "source_system.consistent", True)
    async with aclosing(MysqlConnector(place.settings(consistent=False))) as source, source.open(SPAN) as snapshot:
        assert (snapshot.kind, snapshot.count) == (SnapshotKind.NONE, None)
    assert len(await read(place.settings(consistent=False))) == 1


async def test_a_large_table_is_not_passed_over_whole_for_each_part(place):
    place.sql(
        "CREATE TABLE t (id INT PRIMARY KEY, at DATETIME) AS SELECT seq AS id, %s AS at FROM seq_1_to_150000",
        START,
    )
    place.sql("ANALYZE TABLE t")
    error = await refusal(place.settings())
    assert (error.code, "t with about 1" in error.message) == ("full_scan", True)
    async with aclosing(MysqlConnector(place.settings())) as source:
        [failed] = [check for check in await source.check() if not check.ok]
    assert "CREATE INDEX" in failed.hint
    place.sql("CREATE INDEX unused ON t (at) IGNORED")
    assert (await refusal(place.settings())).code == "full_scan"
    place.sql("DROP INDEX unused ON t")
    async with aclosing(MysqlConnector(place.settings(allow_full_scan=True))) as source:
        assert await source.plan(SPAN, 10_000) == [Window(SPAN.start, SPAN.end)]
        assert all(check.ok for check in await source.check())
    place.sql("CREATE INDEX by_time ON t (at)")
    async with aclosing(MysqlConnector(place.settings())) as source:
        assert len(await source.plan(SPAN, 10_000)) == 1


@pytest.mark.parametrize("where", [None, "id > 0"])
async def test_a_cursor_that_is_no_day_is_a_bad_value_and_nothing_is_cut_there(place, where):
    """The server puts it between the days around it: it is counted, read, and set aside where that is declared."""
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, at DATE NOT NULL, KEY (at))")
    days = ["2025-10-30", "2025-10-31", "2025-11-00", "2025-11-00", "2025-11-01", "2025-11-02"]
    place.many("INSERT INTO t VALUES (%s, %s)", list(enumerate(days, 1)))
    span = Window(START - 20 * 24 * HOUR, START)
    aside = {"columns": {"on_bad_value": {"at": "quarantine"}}}
    async with aclosing(MysqlConnector(place.settings(where=where, **aside))) as source:
        found, set_aside = [], 0
        for part in await source.plan(span, 2):
            async with source.open(part) as snapshot, aclosing(snapshot.batches()) as batches:
                found += [row["id"] async for batch in batches for row in batch.to_pylist()]
                set_aside += getattr(snapshot.quarantined(), "num_rows", 0)
    assert (found, set_aside) == ([1, 2, 5, 6], 2)
    with pytest.raises(ContractError) as error:
        await read(place.settings(where=where), span)
    assert (error.value.code, "id=3" in error.value.message) == ("bad_value", True)
