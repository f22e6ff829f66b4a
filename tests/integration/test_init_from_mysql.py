"""`sluiceway init --from` a real MariaDB: what it proposes runs, and every row arrives with its values."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import duckdb
import pytest
import yaml

from service import exit_codes
from tests.cli.shell import Answer, sluiceway
from tests.integration.mysql_source import READER, MysqlPlace
from tests.servers.mariadb import PASSWORD

HARD = """CREATE TABLE `odd-orders` (
  id BIGINT UNSIGNED PRIMARY KEY, note VARCHAR(40) CHARACTER SET utf8mb4, huge DECIMAL(60,10), doc JSON,
  shipped DATE NOT NULL, took TIME, made DATETIME NOT NULL,
  stamp TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY (stamp))"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("SLUICEWAY_CONFIG", raising=False)
    monkeypatch.setenv("SLUICEWAY_SOURCE_PASSWORD", PASSWORD)
    return tmp_path


@pytest.fixture
def place(mariadb) -> MysqlPlace:
    return MysqlPlace(mariadb)


def init_from(place: MysqlPlace, *more: str, user: str = READER) -> Answer:
    url = f"mysql://{user}@127.0.0.1:{place.server.port}/{place.database}?tls=false"
    return sluiceway("init", "--from", url, *more)


def section(name: str, key: str = "source_system") -> dict:
    return yaml.safe_load(Path("pipelines", f"{name}.yaml").read_text())[key]


def comments(name: str) -> str:
    lines = Path("pipelines", f"{name}.yaml").read_text().splitlines()
    return " ".join(line.strip(" #") for line in lines if line.lstrip().startswith("#"))


def run_all(name: str) -> None:
    for command in ("drive init", "doctor", "run"):
        answer = sluiceway(*command.split(), "-c", f"pipelines/{name}.yaml")
        assert answer.code == exit_codes.OK, answer.said


def loaded(columns: str, table: str) -> list[tuple]:
    with duckdb.connect("warehouse.duckdb") as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def earlier(**ago: float) -> datetime:
    """Two hours are in a window that is closed, also in the first minutes of an hour."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0, tzinfo=None) - timedelta(**ago)


def test_what_init_proposes_for_a_table_of_hard_values_runs_and_every_row_is_there(place, here):
    at = earlier(hours=2)
    place.sql(HARD)
    rows = [(n, "Ærø 😀", "1" * 50 + ".5", '{"a": 1}', "0000-00-00", "-838:59:59", at, at) for n in range(3)]
    place.many("INSERT INTO `odd-orders` VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", rows)
    place.sql("CREATE VIEW looked_at AS SELECT 1 AS id")

    answer = init_from(place)
    assert answer.code == exit_codes.OK, answer.said
    assert sorted(path.name for path in Path("pipelines").iterdir()) == ["odd_orders.yaml", "shared.yaml"]
    assert "a view: it declares no key" in answer.said
    assert sluiceway("validate", "pipelines").out.endswith("odd_orders.yaml: OK\n")
    source = section("odd_orders")
    assert (source["table"], source["key"], source["cursor"]) == ("odd-orders", ["id"], "stamp")
    types = {"huge": "string", "doc": "json"}
    assert source["columns"] == {"types": types, "on_bad_value": {"shipped": "null"}}
    assert section("odd_orders", "target_system")["version"] == "stamp"
    for reason in ("The server moves it with every change", "more digits than a target holds", "3 of the first"):
        assert reason in comments("odd_orders")

    run_all("odd_orders")
    found = loaded("id, note, huge, doc, shipped, took, made", "odd_orders")
    huge = "1" * 50 + ".5000000000"
    assert found == [(n, "Ærø 😀", huge, '{"a": 1}', None, "-838:59:59", at) for n in range(3)]


def test_rows_that_were_never_changed_are_placed_by_another_date_and_those_without_any_are_told(place, here):
    at = earlier(hours=2)
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, updated_at DATETIME NULL, created_at DATETIME NOT NULL)")
    place.many("INSERT INTO t VALUES (%s, %s, %s)", [(1, None, at), (2, at, at), (3, None, at)])
    place.sql("CREATE TABLE u (id INT PRIMARY KEY, changed DATETIME NULL)")
    place.many("INSERT INTO u VALUES (%s, %s)", [(1, None), (2, at), (3, "0000-00-00")])
    assert init_from(place).code == exit_codes.OK
    assert section("t")["cursor_fallback"] == "created_at"
    assert section("u")["null_cursor"] == "ignore"
    assert "2 rows have none, or a zero date" in comments("u")
    run_all("t")
    run_all("u")
    assert loaded("id", "t") == [(1,), (2,), (3,)]
    assert loaded("id", "u") == [(2,)]


@pytest.mark.parametrize(
    ("first", "begins"), [("2024-00-00", "2023-12-31"), ("2024-03-00", "2024-02-29"), ("2024-02-31", "2024-02-01")]
)
def test_a_first_row_that_lies_on_no_day_is_in_the_first_window(place, here, first, begins):
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, updated_at DATETIME NOT NULL, KEY (updated_at))")
    with place.server.connection(place.database) as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES'")
        cursor.execute("INSERT INTO t VALUES (1, %s), (2, '2025-01-01')", [first])
        connection.commit()

    answer = init_from(place)
    assert answer.code == exit_codes.OK, answer.said
    assert f"{section('t', 'windows')['start']:%Y-%m-%d}" == begins
    found = place.sql("SELECT id FROM t WHERE updated_at >= %s ORDER BY 1", begins)
    assert [number for (number,) in found] == [1, 2]


def test_a_small_table_whose_changes_no_date_tells_is_read_whole(place, here):
    place.sql("CREATE TABLE airlines (code CHAR(2) PRIMARY KEY, founded DATE NOT NULL)")
    place.many("INSERT INTO airlines VALUES (%s, %s)", [("AA", "1926-04-15"), ("9E", "0000-00-00")])
    place.sql("CREATE TABLE keyless (updated_at TIMESTAMP NOT NULL, n INT)")
    place.many("INSERT INTO keyless VALUES (NOW(), %s)", [(7,), (7,)])
    assert init_from(place).code == exit_codes.OK
    assert section("airlines")["columns"] == {"on_bad_value": {"founded": "null"}}
    for name in ("airlines", "keyless"):
        assert section(name, "target_system")["mode"] == "snapshot"
        run_all(name)
    assert loaded("code, founded::VARCHAR", "airlines") == [("9E", None), ("AA", "1926-04-15")]
    assert loaded("n", "keyless") == [(7,), (7,)]
    place.sql("DELETE FROM airlines WHERE code = 'AA'")
    assert sluiceway("run", "-c", "pipelines/airlines.yaml").out.startswith("Nothing is due.")


def test_without_a_key_rows_are_appended_where_their_date_never_changes(place, here):
    at = earlier(hours=2)
    place.sql("CREATE TABLE log (created TIMESTAMP NOT NULL, line TEXT) ENGINE=Aria TRANSACTIONAL=0")
    place.many("INSERT INTO log VALUES (%s, %s)", [(at, "same"), (at, "same")])
    assert init_from(place, "--tables", "lo*").code == exit_codes.OK
    assert section("log", "target_system")["mode"] == "append"
    assert section("log")["consistent"] is False
    run_all("log")
    assert loaded("line", "log") == [("same",), ("same",)]


@pytest.mark.parametrize(("zone", "lookback"), [("-05:00", 600 + 18_000), ("+02:00", 600)])
def test_wall_times_of_a_server_west_of_utc_have_a_lookback_that_covers_it(place, here, zone, lookback):
    place.sql("CREATE TABLE wall (id INT PRIMARY KEY, updated_at DATETIME NOT NULL)")
    place.sql("CREATE TABLE exact (id INT PRIMARY KEY, updated_at TIMESTAMP NOT NULL)")
    [(before,)] = place.sql("SELECT @@GLOBAL.time_zone")
    place.sql("SET GLOBAL time_zone = %s", zone)
    try:
        assert init_from(place).code == exit_codes.OK
    finally:
        place.sql("SET GLOBAL time_zone = %s", before)
    assert section("wall", "windows")["lookback_seconds"] == lookback
    assert "The server's own zone is" in comments("wall")
    assert section("exact", "windows")["lookback_seconds"] == 600


def test_a_date_without_a_time_has_windows_of_days(place, here):
    place.sql("CREATE TABLE d (id INT PRIMARY KEY, modified DATE NOT NULL)")
    place.many("INSERT INTO d VALUES (%s, %s)", [(1, earlier(days=2))])
    assert init_from(place).code == exit_codes.OK
    windows = section("d", "windows")
    assert (windows["width"], windows["lookback_seconds"]) == ("day", 86_400)


def test_for_snowflake_the_shared_file_has_what_is_to_be_filled_in_and_all_is_valid(place, here):
    place.sql("CREATE TABLE orders (id INT PRIMARY KEY, updated_at TIMESTAMP NOT NULL)")
    assert init_from(place, "--to", "snowflake:raw.shop").code == exit_codes.OK
    assert section("orders", "target_system")["table"] == "RAW.SHOP.ORDERS"
    answer = sluiceway("validate", "pipelines")
    assert (answer.code, answer.out) == (exit_codes.OK, "pipelines/orders.yaml: OK\n")


def test_a_large_table_that_no_date_or_no_key_cuts_into_windows_is_told(place, here):
    place.sql("CREATE TABLE timeless (id INT PRIMARY KEY) SELECT seq AS id FROM seq_1_to_100001")
    place.sql("CREATE TABLE keyless (at TIMESTAMP NOT NULL, KEY (at)) SELECT NOW() AS at FROM seq_1_to_100001")
    answer = init_from(place)
    assert answer.code == exit_codes.OK
    assert "it has no date or timestamp to cut windows by, and 100,001 rows" in answer.said
    assert "it has no primary key and no unique one without NULL, and at may change" in answer.said


def test_a_large_table_whose_best_date_has_no_index_is_told_with_the_statement_that_makes_one(place, here):
    place.sql(
        "CREATE TABLE big (id INT PRIMARY KEY, updated_at DATETIME NOT NULL, created DATETIME, KEY (created))"
    )
    place.sql("INSERT INTO big SELECT seq, NOW(), NOW() FROM seq_1_to_100001")
    answer = init_from(place)
    assert answer.code == exit_codes.OK
    assert "no index begins with updated_at" in answer.said
    assert f"CREATE INDEX … ON `{place.database}`.`big` (`updated_at`)" in answer.said
    assert not Path("pipelines").exists()


def test_a_password_in_the_url_is_used_and_written_nowhere(place, here, monkeypatch):
    monkeypatch.delenv("SLUICEWAY_SOURCE_PASSWORD")
    place.sql("CREATE TABLE t (id INT PRIMARY KEY, updated_at DATETIME NOT NULL)")
    answer = init_from(place, user=f"{READER}:{quote(PASSWORD, safe='')}")
    assert answer.code == exit_codes.OK, answer.said
    written = "".join(path.read_text() for path in Path("pipelines").iterdir())
    assert "password: {env: SLUICEWAY_SOURCE_PASSWORD}" in written
    for text in (PASSWORD, quote(PASSWORD, safe="")):
        assert text not in written + answer.out + answer.err
    wrong = init_from(place, user=f"{READER}:canary-33f0")
    assert wrong.code == exit_codes.CONFIG
    assert "canary-33f0" not in wrong.out + wrong.err
