"""What a source makes of the errors of MySQL and MariaDB: the vendor table of the requirements, row by row."""

from __future__ import annotations

import ssl

import pytest
from pymysql.err import InterfaceError, InternalError, OperationalError, ProgrammingError

from connectors.mysql.errors import MEANINGS, explain
from connectors.mysql.settings import MysqlSettings
from state.errors import (
    ConfigurationError,
    PermanentError,
    RestartAttempt,
    TransientError,
    Unreachable,
)

SETTINGS = MysqlSettings.model_validate(
    {
        "type": "mysql",
        "host": "db.example",
        "user": "reader",
        "password": {"env": "NONE"},
        "database": "shop",
        "table": "orders",
        "cursor": "at",
    }
)

TABLE = {
    Unreachable: (2002, 2003, 2005, 1040, 1203, 1226, 1053, 3032, 1047),
    TransientError: (1129, 1158, 1159, 1160, 1161, 1021, 1037, 1038, 1041, 3015),
    RestartAttempt: (2006, 2013, 2055, 4031, 1152, 1927, 1317, 1969, 3024, 1205, 1213, 1412, 1637, 2027),
    ConfigurationError: (
        *(1044, 1045, 1130, 1142, 1143, 1227, 1251, 2059, 1698, 3159, 2026),
        *(1049, 1051, 1054, 1146, 1064, 1102, 1103, 1109, 1290, 1836, 1827),
    ),
    PermanentError: (1194, 1195, 1292, 1366, 2020),
}
"""As the requirement has it: class → numbers."""


@pytest.mark.parametrize(
    ("becomes", "number"), [(becomes, number) for becomes, numbers in TABLE.items() for number in numbers]
)
def test_each_number_becomes_what_the_table_says(becomes, number):
    """Section 12.2 of the reliability requirements, T-10."""
    error = explain(SETTINGS, "reading shop.orders", OperationalError(number, "said"), in_snapshot=True)
    assert type(error) is becomes
    assert error.code == str(number)
    assert error.message == "reading shop.orders at db.example:3306: said"
    assert error.hint


@pytest.mark.parametrize("number", TABLE[RestartAttempt])
def test_outside_of_a_snapshot_nothing_has_to_be_restarted(number):
    error = explain(SETTINGS, "counting", OperationalError(number, "said"), in_snapshot=False)
    assert (type(error), error.code) == (TransientError, str(number))


def test_no_number_is_in_two_rows():
    numbers = [number for row in MEANINGS for number in row.numbers]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("row", [row for row in MEANINGS if row.path], ids=lambda row: str(row.numbers[0]))
def test_a_setting_that_is_named_is_one(row):
    name = row.path.removeprefix("source_system.")
    assert name in MysqlSettings.model_fields


def test_an_unknown_number_is_tried_a_few_times():
    error = explain(SETTINGS, "reading", ProgrammingError(9999, "new"), in_snapshot=True)
    assert (type(error), error.code, error.at_most) == (TransientError, "other", 3)


def test_a_blocked_host_is_tried_a_few_times():
    error = explain(SETTINGS, "connecting", OperationalError(1129, "blocked"), in_snapshot=False)
    assert (type(error), error.at_most) == (TransientError, 3)


def test_1105_restarts_only_where_aurora_asks_for_it():
    asked = explain(SETTINGS, "reading", InternalError(1105, "Please retry the query"), in_snapshot=True)
    unknown = explain(SETTINGS, "reading", InternalError(1105, "Unknown error"), in_snapshot=True)
    assert (type(asked), asked.code) == (RestartAttempt, "1105")
    assert (type(unknown), unknown.code) == (TransientError, "other")


def test_a_driver_without_words_has_lost_the_connection():
    """aiomysql's `(0, '')`."""
    error = explain(SETTINGS, "reading", InterfaceError(0, ""), in_snapshot=True)
    assert (type(error), error.code) == (RestartAttempt, "2013")


def test_silence_is_a_code_of_its_own():
    error = explain(SETTINGS, "reading", TimeoutError(), in_snapshot=True)
    assert (type(error), error.code) == (RestartAttempt, "timeout")
    assert "no answer in time" in error.message


def test_a_certificate_that_does_not_fit_is_a_matter_of_settings():
    error = OperationalError(2003, "cannot connect")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    found = explain(SETTINGS, "connecting", error, in_snapshot=False)
    assert (type(found), found.path) == (ConfigurationError, "source_system.tls")
