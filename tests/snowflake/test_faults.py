"""Faults of the wire on demand: what the unmodified connector makes of them."""

from __future__ import annotations

import time

import pytest
from snowflake.connector import errors

from tests.snowflake.accounts import fails, fault, until


async def table(place, connection) -> None:
    await place.rows(connection, "CREATE TABLE t (a NUMBER)")


def ran(place, text: str) -> int:
    return sum(one["text"] == text for one in place.statements())


async def test_a_connection_dropped_before_the_effect_is_tried_again_by_the_driver(place):
    async with place.connect() as connection:
        await table(place, connection)
        with fault(place, "drop_before", sql="INSERT") as told:
            await place.rows(connection, "INSERT INTO t VALUES (1)")
            assert (told()["matched"], told()["fired"]) == (2, 1)
        assert await place.rows(connection, "SELECT count(*) FROM t") == [(1,)]


async def test_a_lost_answer_is_given_again_and_nothing_runs_twice(place):
    """The driver repeats the request with the same id, and gets the answer that was given."""
    async with place.connect() as connection:
        await table(place, connection)
        with fault(place, "drop_after", sql="INSERT") as told:
            await place.rows(connection, "INSERT INTO t VALUES (1)")
            assert told()["matched"] == 2
        assert await place.rows(connection, "SELECT count(*) FROM t") == [(1,)]
        assert ran(place, "INSERT INTO t VALUES (1)") == 1


async def test_the_answer_of_a_commit_is_lost_and_given_again(place):
    async with place.connect() as connection, place.connect() as other:
        await table(place, connection)
        await place.rows(connection, "BEGIN")
        await place.rows(connection, "INSERT INTO t VALUES (1)")
        with fault(place, "drop_after", sql="COMMIT") as told:
            await place.rows(connection, "COMMIT")
            assert told()["fired"] == 1
        assert await place.rows(other, "SELECT count(*) FROM t") == [(1,)]
        assert ran(place, "COMMIT") == 1


async def test_a_commit_whose_every_answer_is_lost_is_done_all_the_same(place):
    """What the caller must settle: it was sent, and nobody says how it ended."""
    async with place.connect(retry_max_attempts=2) as connection, place.connect() as other:
        await table(place, connection)
        await place.rows(connection, "BEGIN")
        await place.rows(connection, "INSERT INTO t VALUES (1)")
        with fault(place, "drop_after", sql="COMMIT", times=None) as told:
            error = await fails(place.rows(connection, "COMMIT"))
            assert (type(error), error.errno, told()["fired"]) == (errors.OperationalError, 4, 2)
        assert await place.rows(other, "SELECT count(*) FROM t") == [(1,)]
        assert ran(place, "COMMIT") == 1


async def test_a_commit_that_never_arrives_is_not_done(place):
    async with place.connect(retry_max_attempts=2) as connection, place.connect() as other:
        await table(place, connection)
        await place.rows(connection, "BEGIN")
        await place.rows(connection, "INSERT INTO t VALUES (1)")
        with fault(place, "drop_before", sql="COMMIT", times=None):
            assert (await fails(place.rows(connection, "COMMIT"))).errno == 4
        assert await place.rows(other, "SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize("status", [503, 429])
async def test_a_busy_server_is_asked_again(place, status):
    async with place.connect() as connection:
        with fault(place, "status", sql="SELECT 7", status=status, times=2) as told:
            assert await place.rows(connection, "SELECT 7") == [(7,)]
            assert told()["matched"] == 3


@pytest.mark.parametrize(("status", "errno"), [(503, 4), (429, 4), (403, 6)])
async def test_a_permanent_status_ends_in_bounded_time(place, status, errno):
    """Case 45: what the driver makes of it, and that it asked a bounded number of times."""
    async with place.connect(retry_max_attempts=3) as connection:
        with fault(place, "status", sql="SELECT 7", status=status, times=None) as told:
            assert (await fails(place.rows(connection, "SELECT 7"))).errno == errno
            assert told()["fired"] == (1 if status == 403 else 3)


async def test_a_server_that_hangs_is_waited_for(place):
    async with place.connect() as connection:
        await table(place, connection)
        with fault(place, "hang", sql="INSERT", seconds=1.0) as told:
            started = time.monotonic()
            await place.rows(connection, "INSERT INTO t VALUES (1)")
            assert time.monotonic() - started >= 1.0
            assert told()["fired"] == 1


async def test_a_statement_that_the_client_gives_up_is_done_all_the_same(place):
    """The driver's `query_timeout`: it stops waiting with errno 14, and cancels nothing."""
    async with place.connect(query_timeout=1) as connection, place.connect() as other:
        await table(place, other)
        with fault(place, "hang", sql="INSERT", seconds=5.0):
            error = await fails(place.rows(connection, "INSERT INTO t VALUES (1)"))
            assert (type(error), error.errno) == (errors.OperationalError, 14)
            assert await place.rows(other, "SELECT count(*) FROM t") == [(0,)]
            await until(lambda: ran(place, "INSERT INTO t VALUES (1)"))
        await place.rows(connection, "SELECT 1")
        assert await place.rows(other, "SELECT count(*) FROM t") == [(1,)]


async def test_an_error_of_the_server_on_demand(place):
    async with place.connect() as connection:
        await table(place, connection)
        message = "Statement 'x' has locked table 'T'"
        with fault(place, "error", sql="UPDATE", code="000625", state="57014", message=message):
            error = await fails(place.rows(connection, "UPDATE t SET a = 1"))
        assert (error.errno, error.sqlstate, message in str(error)) == (625, "57014", True)
        await place.rows(connection, "UPDATE t SET a = 1")


async def test_the_nth_statement_is_met_and_no_other(place):
    async with place.connect() as connection:
        with fault(place, "error", sql="SELECT [0-9]$", nth=3, code="000001", state="00001"):
            assert await place.rows(connection, "SELECT 1") == [(1,)]
            assert await place.rows(connection, "SELECT 2") == [(2,)]
            assert (await fails(place.rows(connection, "SELECT 3"))).errno == 1
            assert await place.rows(connection, "SELECT 4") == [(4,)]


@pytest.mark.parametrize("code", ["390112", "390111", "390114"])
async def test_a_session_expires_at_the_nth_statement(place, code):
    async with place.connect() as connection:
        with fault(place, "expire", sql="SELECT", nth=2, code=code):
            assert await place.rows(connection, "SELECT 1") == [(1,)]
            if code == "390112":
                assert await place.rows(connection, "SELECT 2") == [(2,)]
            else:
                assert (await fails(place.rows(connection, "SELECT 2"))).errno == int(code)


async def test_the_statements_of_a_phase_are_met_by_their_tag(place):
    async with place.connect(session_parameters={"QUERY_TAG": '{"phase":"one"}'}) as connection:
        with fault(place, "error", tag='"phase":"two"', code="000001", state="00001", times=None):
            assert await place.rows(connection, "SELECT 1") == [(1,)]
            await place.rows(connection, """ALTER SESSION SET QUERY_TAG = '{"phase":"two"}'""")
            assert (await fails(place.rows(connection, "SELECT 1"))).errno == 1


async def test_a_login_can_be_dropped_too(place):
    with fault(place, "drop_before", path="login-request") as told:
        async with place.connect() as connection:
            assert await place.rows(connection, "SELECT 1") == [(1,)]
        assert told()["matched"] == 2


async def test_faults_of_one_place_are_not_those_of_another(place):
    other = place.server.place()
    with fault(other, "error", sql="SELECT", times=None) as told:
        async with place.connect() as connection:
            assert await place.rows(connection, "SELECT 1") == [(1,)]
        assert told()["matched"] == 0


# -- uploads


async def put(place, connection, path) -> list:
    return await place.rows(connection, f"PUT 'file://{path}' @st AUTO_COMPRESS=FALSE OVERWRITE=TRUE")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.bin"
    path.write_bytes(bytes(range(256)) * 4000)
    return path


@pytest.mark.parametrize("rule", [{"act": "status", "status": 503}, {"act": "drop_before", "bytes": 300_000}])
async def test_an_upload_that_is_interrupted_is_done_again_by_the_driver(place, file, rule):
    """Case 34."""
    async with place.connect() as connection:
        await place.rows(connection, "CREATE STAGE st")
        with fault(place, **{"database": None, "method": "PUT", "path": "^/storage/", **rule}) as told:
            [row] = await put(place, connection, file)
            assert (told()["fired"], "UPLOADED" in row) == (1, True)
        [(name, size, *_)] = await place.rows(connection, "LIST @st")
        assert (name, size) == ("st/rows.bin", file.stat().st_size)


async def test_an_upload_that_is_refused_for_good_is_an_error(place, file):
    async with place.connect() as connection:
        await place.rows(connection, "CREATE STAGE st")
        with fault(place, "status", database=None, method="PUT", path="^/storage/", status=403, times=None):
            await fails(put(place, connection, file))
        assert await place.rows(connection, "LIST @st") == []


async def test_a_download_that_breaks_is_done_again_by_the_driver(place, file, tmp_path):
    async with place.connect() as connection:
        await place.rows(connection, "CREATE STAGE st")
        await put(place, connection, file)
        with fault(place, "status", database=None, method="GET", path="^/storage/", status=503) as told:
            await place.rows(connection, f"GET @st/rows.bin 'file://{tmp_path}/down/'")
            assert told()["fired"] == 1
        assert (tmp_path / "down" / "rows.bin").read_bytes() == file.read_bytes()


async def test_a_busy_server_is_asked_again_when_it_says(place):
    async with place.connect() as connection:
        with fault(place, "status", sql="SELECT 7", status=503, headers={"retry-after": "1"}):
            started = time.monotonic()
            assert await place.rows(connection, "SELECT 7") == [(7,)]
            assert time.monotonic() - started >= 1.0
