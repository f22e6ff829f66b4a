"""How a MySQL drive table logs in: TLS, rights, secrets, and what every connection is told first (MariaDB)."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from state.errors import ConfigurationError, SluicewayError, TransientError
from state.mysql.drive import MysqlDrive
from state.mysql.session import IDLE_SECONDS, Session, _first_words
from state.mysql.settings import MysqlDriveSettings
from tests.contract.drive_desk import new
from tests.servers.mariadb import PASSWORD, PASSWORD_VARIABLE, free_port
from tests.servers.relay import Relay

NOBODY = 1
"""A port that nothing listens on; the same in every process that collects these tests."""


async def refused(settings: MysqlDriveSettings) -> SluicewayError:
    with pytest.raises(SluicewayError) as caught:
        await MysqlDrive.open(settings)
    return caught.value


async def cipher(settings: MysqlDriveSettings) -> str:
    session = Session(settings)
    await session.open()
    try:
        [row] = await session.rows("SHOW STATUS LIKE 'Ssl_cipher'")
        return row["Value"]
    finally:
        await session.aclose()


async def test_a_connection_is_encrypted_and_checked_unless_said_otherwise(mariadb):
    assert await cipher(mariadb.database(tls=True, ca_file=mariadb.ca_file))
    assert await cipher(mariadb.database(tls=True, ca_file=mariadb.ca_file, host="localhost"))
    assert await cipher(mariadb.database(tls=False)) == ""


async def test_a_whole_drive_table_works_over_tls(mariadb):
    settings = mariadb.database(tls=True, ca_file=mariadb.ca_file)
    await MysqlDrive.init(settings)
    async with aclosing(await MysqlDrive.open(settings)) as drive:
        mariadb.hang_up(settings.database)
        assert await drive.create("p", "x", [new(hour) for hour in range(20)])


@pytest.mark.parametrize("tls", [True, False])
async def test_what_is_closed_is_closed_at_once(tls, mariadb):
    session = Session(mariadb.database(tls=tls, ca_file=mariadb.ca_file if tls else None))
    await session.open()
    held = session._connection._writer.transport.get_extra_info("socket")
    await session.aclose()
    await asyncio.sleep(0)
    assert held.fileno() == -1


async def test_a_certificate_that_nobody_vouches_for_is_refused(mariadb):
    error = await refused(mariadb.database(tls=True))
    assert isinstance(error, ConfigurationError)
    assert (error.path, "ca_file" in error.hint) == ("drive_table.tls", True)


async def test_a_certificate_of_another_name_is_refused(mariadb):
    async with Relay(mariadb.port, host="127.0.0.2") as relay:
        place = {"host": "127.0.0.2", "port": relay.port}
        error = await refused(mariadb.database(tls=True, ca_file=mariadb.ca_file, **place))
        assert (type(error), error.path) == (ConfigurationError, "drive_table.tls")
        assert "127.0.0.2" in error.message
        assert await cipher(mariadb.database(tls=False, **place)) == ""


async def test_a_server_that_offers_no_tls_hears_neither_user_nor_password(mariadb):
    async with Relay(mariadb.port) as relay:
        relay.without_tls = True
        error = await refused(mariadb.database(tls=True, ca_file=mariadb.ca_file, port=relay.port))
        assert (type(error), error.path) == (ConfigurationError, "drive_table.tls")
        assert relay.heard == b""
        assert await cipher(mariadb.database(tls=False, port=relay.port)) == ""
        assert b"sluiceway" in relay.heard


async def test_certificates_that_cannot_be_read_are_named(mariadb, tmp_path):
    (tmp_path / "no.pem").write_text("no certificate")
    for file in (tmp_path / "none.pem", tmp_path / "no.pem"):
        error = await refused(mariadb.database(tls=True, ca_file=file))
        assert (error.code, error.path, str(file) in error.message) == ("ca_file", "drive_table.ca_file", True)


async def test_every_connection_is_told_how_to_wait_and_compare(mariadb):
    session = Session(mariadb.database(lock_wait_timeout_seconds=7, answer_timeout_seconds=9))
    await session.open()
    names = (
        "tx_isolation innodb_lock_wait_timeout lock_wait_timeout wait_timeout idle_transaction_timeout time_zone"
    )
    names += " sql_mode autocommit character_set_client character_set_connection"
    [found] = await session.rows("SELECT " + ", ".join(f"@@SESSION.{name} AS {name}" for name in names.split()))
    await session.aclose()
    assert found == {
        "tx_isolation": "READ-COMMITTED",
        "innodb_lock_wait_timeout": 7,
        "lock_wait_timeout": 7,
        "wait_timeout": IDLE_SECONDS,
        "idle_transaction_timeout": 7,
        "time_zone": "+00:00",
        "sql_mode": "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
        "autocommit": 1,
        "character_set_client": "utf8mb4",
        "character_set_connection": "utf8mb4",
    }


@pytest.mark.parametrize(
    ("version", "is_mariadb"),
    [("5.5.5-10.11.14-MariaDB-0+deb12u2", True), ("8.4.6", False), ("9.4.0-commercial", False)],
)
def test_mysql_itself_is_told_only_what_it_knows(version, is_mariadb):
    """From the documentation of MySQL, which has no idle_transaction_timeout; there wait_timeout does its work."""
    connection = SimpleNamespace(get_server_info=lambda: version)
    words = _first_words(connection, MysqlDriveSettings.model_validate(settings_of()))
    assert any("idle_transaction_timeout" in statement for statement in words) == is_mariadb
    assert f"wait_timeout = {IDLE_SECONDS}" in words[1]


async def test_the_clock_is_utc_whatever_the_servers_zone_is(mariadb):
    settings = mariadb.database()
    await MysqlDrive.init(settings)
    async with aclosing(await MysqlDrive.open(settings)) as drive:
        before = mariadb.sql("SELECT UTC_TIMESTAMP(6)")[0][0]
        seen = (await drive.now()).replace(tzinfo=None)
        mariadb.sql("SET GLOBAL time_zone = '+05:30'")
        try:
            async with aclosing(await MysqlDrive.open(settings)) as later:
                then = (await later.now()).replace(tzinfo=None)
        finally:
            mariadb.sql("SET GLOBAL time_zone = 'SYSTEM'")
        assert before <= seen <= then <= mariadb.sql("SELECT UTC_TIMESTAMP(6)")[0][0]


async def test_a_wrong_password_is_a_configuration_error_that_names_the_setting(mariadb, monkeypatch):
    settings = mariadb.database()
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
    error = await refused(settings)
    assert (type(error), error.code, error.path) == (ConfigurationError, "1045", "drive_table.user")


async def test_a_password_that_changed_is_read_at_the_next_connection(mariadb, tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    settings = mariadb.database(password={"file": file})
    await MysqlDrive.init(settings)
    async with aclosing(await MysqlDrive.open(settings)) as drive:
        change = "ALTER USER sluiceway@'127.0.0.1' IDENTIFIED BY %s"
        mariadb.sql(change, "the next one")
        try:
            mariadb.hang_up(settings.database)
            with pytest.raises(ConfigurationError):
                await drive.now()
            file.write_text("the next one\n")
            assert await drive.now()
        finally:
            mariadb.sql(change, PASSWORD)


@pytest.mark.parametrize(
    ("change", "kind", "code", "path"),
    [
        ({"database": "of_somebody_else"}, ConfigurationError, "1044", "drive_table.user"),
        ({"user": "nobody"}, ConfigurationError, "1045", "drive_table.user"),
        ({"port": NOBODY}, TransientError, "2003", ""),
        ({"host": "no-such-host.invalid"}, TransientError, "2003", ""),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
async def test_what_does_not_fit_is_said_with_the_setting(change, kind, code, path, mariadb):
    error = await refused(mariadb.database(**change))
    assert (type(error), error.code, getattr(error, "path", "")) == (kind, code, path)
    assert error.hint


async def test_a_server_that_says_nothing_is_given_up_when_the_time_to_connect_is_over(mariadb):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        error = await refused(mariadb.database(port=silent.getsockname()[1], connect_timeout_seconds=1))
    assert (type(error), error.code, "no answer" in error.message) == (TransientError, "2003", True)


async def test_no_secret_is_in_what_is_said_or_logged(mariadb, monkeypatch, caplog):
    canary = "canary-6b1f"
    caplog.set_level(logging.DEBUG)
    settings = mariadb.database()
    said = [repr(settings), str(settings), settings.model_dump_json(), settings.place]
    monkeypatch.setenv(PASSWORD_VARIABLE, canary)
    broken = [
        settings,
        settings.model_copy(update={"port": free_port()}),
        settings.model_copy(update={"tls": True}),
    ]
    for one in broken:
        said += traceback.format_exception(await refused(one))
    with pytest.raises(ValidationError) as caught:
        MysqlDriveSettings.model_validate(
            {"type": "mysql", "host": "h", "user": "u", "password": canary, "database": "d"}
        )
    assert caught.value.errors()[0]["loc"] == ("password",)
    said += [caplog.text]
    assert not [text for text in said if canary in text or PASSWORD in text]


def settings_of(**given) -> dict:
    return {"type": "mysql", "host": "h", "user": "u", "password": {"env": "P"}, "database": "d"} | given


def test_tls_is_on_and_only_its_own_word_turns_it_off():
    assert MysqlDriveSettings.model_validate(settings_of()).tls is True
    assert MysqlDriveSettings.model_validate(settings_of(tls=False)).tls is False
    for word in ("no", 0, None, "false"):
        with pytest.raises(ValidationError):
            MysqlDriveSettings.model_validate(settings_of(tls=word))


@pytest.mark.parametrize(
    "given",
    [
        {"tls": False, "ca_file": Path("ca.pem")},
        {"lock_wait_timeout_seconds": 60},
        {"port": 0},
        {"host": ""},
        {"password": "in the clear"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(given):
    with pytest.raises(ValidationError):
        MysqlDriveSettings.model_validate(settings_of(**given))
