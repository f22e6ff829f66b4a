"""The answer to a query in large pieces from a MariaDB: whole or an error, and the connection left in order."""

from __future__ import annotations

import asyncio
import random
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing, asynccontextmanager

import pyarrow as pa
import pytest
from pymysql.constants import CLIENT
from pymysql.err import InterfaceError, MySQLError, OperationalError

from connectors.mysql.columns import Column, Declared, Kind, column
from connectors.mysql.decode import Decoder
from connectors.mysql.pages import PAGE_BYTES
from connectors.mysql.wire import AHEAD_BYTES, stream
from state.mysql.connection import Connection, certificates
from tests.integration.mysql_source import READER, MysqlPlace
from tests.servers.mariadb import PASSWORD
from tests.servers.relay import HangUp, Relay

ROWS = 60_000
LONG = 20_000_000
PATIENCE_SECONDS = 30
COLUMNS = [
    Column("seq", "number", Kind.INTEGER, pa.int32(), "seq"),
    Column("text", "text", Kind.TEXT, pa.string(), "REPEAT(CHAR(65 + seq % 26), seq % 300)"),
    Column("nothing", "nothing", Kind.DATE, pa.date32(), "IF(seq % 3, NULL, '2024-02-29')"),
]
SQL = f"SELECT {', '.join(column.selected for column in COLUMNS)} FROM seq_1_to_{ROWS}"
ONE = [Column("1", "one", Kind.INTEGER, pa.int8(), "1")]


@pytest.fixture(scope="module")
def place(mariadb) -> Iterator[MysqlPlace]:
    """On a server that sends values of more than 16 MB."""
    [(size,)] = mariadb.sql("SELECT @@GLOBAL.max_allowed_packet")
    mariadb.sql("SET GLOBAL max_allowed_packet = %s", 2 * LONG)
    yield MysqlPlace(mariadb)
    mariadb.sql("SET GLOBAL max_allowed_packet = %s", size)


@asynccontextmanager
async def connected(place, *, tls=False, port=None, flags=0):
    """An open connection of the reader."""
    trusting = certificates(place.server.ca_file, "source_system") if tls else None
    who = {"user": READER, "password": PASSWORD, "database": place.database}
    connection = Connection("127.0.0.1", port or place.server.port, **who, trusting=trusting)
    connection.client_flag |= flags
    await connection.open()
    try:
        yield connection
    finally:
        connection.close()
        await asyncio.sleep(0)


async def numbers(connection, sql=SQL, decoder=None, **more):
    """The first column of all rows."""
    found = []
    async with aclosing(stream(connection, sql, decoder or Decoder(COLUMNS), **more)) as pages:
        async for page in pages:
            found += page.batch.column(0).to_pylist()
    return found


async def still_works(connection):
    return await numbers(connection, "SELECT 1", Decoder(ONE)) == [1]


@pytest.mark.parametrize("flags", [0, CLIENT.DEPRECATE_EOF], ids=["EOF", "OK"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_all_rows_come_once_and_in_order_and_the_connection_goes_on(place, tls, flags):
    """One of 20 MB too, over several pages; whichever packet the server ends with."""
    async with connected(place, tls=tls, flags=flags) as connection:
        found = []
        async with aclosing(stream(connection, SQL, Decoder(COLUMNS))) as pages:
            async for page in pages:
                found.append(page.batch)
        assert len(found) > 2 and all(batch.nbytes < 16 * 2**20 for batch in found)
        rows = pa.Table.from_batches(found).to_pydict()
        assert rows["number"] == list(range(1, ROWS + 1))
        assert rows["text"] == [chr(65 + n % 26) * (n % 300) for n in rows["number"]]
        assert [day is None for day in rows["nothing"]] == [n % 3 > 0 for n in rows["number"]]
        long = f"SELECT seq, REPEAT('z', IF(seq = 2, {LONG}, 1)) AS text, NULL AS nothing FROM seq_1_to_3"
        async with aclosing(stream(connection, long, Decoder(COLUMNS))) as pages:
            lengths = [len(text) async for page in pages for text in page.batch.column(1).to_pylist()]
        assert lengths == [1, LONG, 1]
        assert await numbers(connection, f"{SQL} LIMIT 0") == []
        assert await still_works(connection)


async def test_floating_numbers_are_the_stored_ones_to_the_last_bit(place):
    """A server writes a FLOAT with six digits unless it is asked for as a DOUBLE."""
    chance = random.Random(6)
    doubles = [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(3_000)]
    doubles = [number for number in doubles if abs(number) < 1.7e308] + [0.1, 1 / 3, 5e-324, 2.0**53 + 2]
    floats = [struct.unpack("<f", chance.randbytes(4))[0] for _ in doubles]
    floats = [number if abs(number) < 3.4e38 else 16_777_217.0 for number in floats]
    place.sql("CREATE TABLE floats (d DOUBLE, f FLOAT)")
    both = list(zip(doubles, floats, strict=True))
    place.many("INSERT INTO floats VALUES (%s, %s)", [(repr(d), repr(f)) for d, f in both])
    words = {"d": "double", "f": "float"}
    declared = [Declared(name, word, word, True, *[None] * 5, "") for name, word in words.items()]
    columns = [column(one, one.name) for one in declared]
    sql = f"SELECT {', '.join(one.selected for one in columns)} FROM floats"
    async with connected(place) as connection, aclosing(stream(connection, sql, Decoder(columns))) as pages:
        batches = [page.batch async for page in pages]
    table = pa.Table.from_batches(batches)
    assert [struct.pack("<d", d) for d in table["d"].to_pylist()] == [struct.pack("<d", d) for d in doubles]
    assert [struct.pack("<f", f) for f in table["f"].to_pylist()] == [struct.pack("<f", f) for f in floats]


LAST_FAILS = f"IF(seq < {ROWS}, '', (SELECT 1 UNION SELECT 2))"
SLOW = f"SET STATEMENT max_statement_time = 0.05 FOR {SQL.replace('seq % 300', 'SLEEP(0.001)')}"


@pytest.mark.parametrize(
    ("sql", "number"),
    [
        ("SELECT nothing FROM nowhere", 1146),
        (f"SELECT seq, {LAST_FAILS} AS text, NULL AS nothing FROM seq_1_to_{ROWS}", 1242),
        (SLOW, 1969),
    ],
    ids=("no table", "last row", "too slow"),
)
async def test_an_error_of_the_server_is_raised_with_its_number_and_the_connection_goes_on(place, sql, number):
    """Before the rows, and behind many of them."""
    async with connected(place) as connection:
        with pytest.raises(MySQLError) as raised:
            await numbers(connection, sql)
        assert raised.value.args[0] == number
        assert await still_works(connection)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_who_stops_early_closes_the_connection(place, tls):
    async with connected(place, tls=tls) as connection:
        async with aclosing(stream(connection, SQL, Decoder(COLUMNS))) as pages:
            assert (await anext(pages)).batch.num_rows > 0
        assert connection.closed
        with pytest.raises(InterfaceError):
            await numbers(connection)
        assert no_tasks()
    assert place.held() == []


@pytest.mark.parametrize("turns", range(1, 40, 3))
async def test_a_reader_that_is_cancelled_at_any_await_leaves_nothing_behind(place, turns):
    """Neither a task nor a connection in the server."""
    async with connected(place) as connection:
        reading = asyncio.create_task(numbers(connection))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert connection.closed and no_tasks()
    assert place.held() == []


def no_tasks() -> bool:
    return not [task for task in asyncio.all_tasks() if task.get_name() == "mysql-decode"]


def wait_for_writing(place) -> None:
    """Return when the server waits, again and again, for somebody who takes its rows."""
    state = "SELECT state FROM information_schema.processlist WHERE user = %s"
    times, until = 0, time.monotonic() + PATIENCE_SECONDS
    while times < 20:
        assert time.monotonic() < until, "it never has to wait"
        times = times + 1 if place.sql(state, READER) == [("Writing to net",)] else 0
        time.sleep(0.01)


class Counting(Decoder):
    """How much was decoded, and where."""

    def __init__(self, columns):
        super().__init__(columns)
        self.bytes = 0
        self.threads = set()

    def decode(self, page):
        decoded = super().decode(page)
        self.bytes += decoded.batch.nbytes
        self.threads.add(threading.get_ident())
        return decoded


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_while_nobody_takes_rows_the_server_waits(place, tls):
    """One page with the caller, `AHEAD_BYTES` decoded, a page that is read, and no more; then all the rest."""
    decoder = Counting(COLUMNS)
    sql = f"{SQL} UNION ALL {SQL} UNION ALL {SQL}"
    async with connected(place, tls=tls) as connection, aclosing(stream(connection, sql, decoder)) as pages:
        page = await anext(pages)
        rows, first = page.batch.num_rows, page.batch.nbytes
        await asyncio.to_thread(wait_for_writing, place)
        assert decoder.bytes - first < AHEAD_BYTES + PAGE_BYTES * 2
        rows += sum([page.batch.num_rows async for page in pages])
    assert rows == 3 * ROWS and decoder.bytes > 3 * AHEAD_BYTES
    assert threading.get_ident() not in decoder.threads


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
async def test_an_answer_without_an_end_is_a_lost_connection(place, reset):
    """Although every packet that came is whole."""

    def spoil(data):
        raise HangUp(reset=reset)

    async with Relay(place.server.port) as relay, connected(place, port=relay.port) as connection:
        pages = stream(connection, SQL, Decoder(COLUMNS))
        async with aclosing(pages):
            await anext(pages)
            relay.spoil = spoil
            with pytest.raises(OperationalError, match="2013"):
                async for _ in pages:
                    pass
        assert connection.closed and no_tasks()


async def test_a_server_that_falls_silent_is_given_up(place):
    async with Relay(place.server.port) as relay, connected(place, port=relay.port) as connection:
        relay.silent = True
        with pytest.raises(OperationalError, match=r"2013.*nothing came for 0\.05 s"):
            await numbers(connection, silence_seconds=0.05)
        assert connection.closed


async def test_a_reader_that_waits_for_a_silent_server_can_be_cancelled(place):
    async with Relay(place.server.port) as relay, connected(place, port=relay.port) as connection:
        relay.silent = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await numbers(connection)
        assert connection.closed and no_tasks()


async def test_who_stops_while_the_next_page_does_not_come_does_not_wait_for_it(place):
    came = 0

    def spoil(data):
        nonlocal came
        came += len(data)
        return data if came < 3_000_000 else b""

    async with Relay(place.server.port) as relay, connected(place, port=relay.port) as connection:
        relay.spoil = spoil
        async with aclosing(stream(connection, SQL, Decoder(COLUMNS))) as pages:
            await anext(pages)
        assert connection.closed and no_tasks()


async def test_a_connection_that_was_lost_before_the_query_is_an_error(place):
    async with connected(place) as connection:
        for number, _ in place.connections():
            place.server.sql("KILL %s", number)
        await connection._reader.read()
        await asyncio.sleep(0)
        with pytest.raises(OperationalError, match="2013"):
            await numbers(connection)


async def test_other_columns_than_were_asked_for_are_an_error(place):
    """Of another name, or of another number: their values would go to the wrong places."""
    for sql in (SQL.replace("`nothing`", "`something`"), f"{SQL} LIMIT 0".replace("SELECT", "SELECT 1,")):
        async with connected(place) as connection:
            with pytest.raises(OperationalError, match=r"2027.*the columns of the answer are"):
                await numbers(connection, sql)
            assert connection.closed or "LIMIT 0" in sql
