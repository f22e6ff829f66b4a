"""What errors of MySQL and MariaDB become: each row of the table, each number in it."""

from __future__ import annotations

import socket
import ssl

import pytest
from pymysql.err import InterfaceError, InternalError, OperationalError, ProgrammingError

from state.errors import ConfigurationError, PermanentError, TransientError, UnknownOutcome
from state.masking import remember
from state.mysql.errors import LOST, MEANINGS, NO_TLS, ROLLED_BACK, explain, is_lost, number_of

ROWS = [(number, row) for row in MEANINGS for number in row.numbers]

REQUIRED = {
    TransientError: """2002 2003 2005 1040 1203 1226 1129 1053 1158 1159 1160 1161 3032 1047 2006 2013 2055 4031
        1152 1927 1317 1969 3024 1205 1213 1412 1637 1021 1037 1038 1041 3015""",
    ConfigurationError: """1044 1045 1130 1142 1143 1227 1251 2059 1698 3159 1049 1051 1054 1146 1064 1102 1103
        1109 1290 1836""",
    PermanentError: "1194 1195 1292 1366",
}
"""reliability.md §12.2; a drive table has no attempt to restart: what is `restart` there is transient here."""


@pytest.mark.parametrize(("number", "row"), ROWS, ids=lambda value: str(value) if isinstance(value, int) else "")
def test_each_number_becomes_what_its_row_says(number, row):
    error = explain("d on h:1", OperationalError(number, "words of the server"))
    assert type(error) is row.becomes
    assert error.message == "the drive table d on h:1 cannot be used: words of the server"
    assert (error.code, error.hint) == (str(number), row.hint)
    assert len(error.hint) > 20
    if isinstance(error, ConfigurationError):
        assert error.path.startswith("drive_table.")


def test_no_number_has_two_rows():
    numbers = [number for number, _row in ROWS]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("becomes", REQUIRED, ids=lambda kind: kind.__name__)
def test_the_numbers_of_the_requirements_are_classed_as_they_say(becomes):
    wrong = [
        number
        for number in map(int, REQUIRED[becomes].split())
        if type(explain("d", ProgrammingError(number, "x"))) is not becomes
    ]
    assert wrong == []


def test_an_unknown_number_is_transient_and_counted_as_other():
    error = explain("d", InternalError(9999, "new in this version"))
    assert (type(error), error.code, error.at_most) == (TransientError, "other", 3)
    assert explain("d", OperationalError(1205, "x")).at_most is None


@pytest.mark.parametrize("number", [number for number, _row in ROWS] + [9999])
def test_only_a_refusal_that_undoes_it_makes_the_outcome_of_a_commit_known(number):
    error = explain("d", OperationalError(number, "x"), committing=True)
    assert isinstance(error, UnknownOutcome) == (number not in ROLLED_BACK)
    assert error.hint


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionResetError(104, "reset"),
        InterfaceError("(0, 'Not connected')"),
        OperationalError(2013, "Lost connection"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_connection_that_is_gone_is_lost_and_a_commit_on_it_unknown(error):
    assert is_lost(error)
    assert isinstance(explain("d", error), TransientError)
    assert isinstance(explain("d", error, committing=True), UnknownOutcome)


def test_an_error_of_a_statement_loses_no_connection():
    for number in (1205, 1213, 1317, 1064, 1062, 9999):
        assert not is_lost(OperationalError(number, "x"))
    assert set(LOST) <= {number for number, row in ROWS if row.becomes is TransientError}


def test_no_answer_in_time_says_so():
    error = explain("d", TimeoutError())
    assert ("no answer in time" in error.message, error.code) == (True, "timeout")


def wrapped(cause: OSError) -> OperationalError:
    """As the driver tells a failure to connect."""
    error = OperationalError(2003, "Can't connect to MySQL server on 'h'")
    error.__cause__ = cause
    return error


def test_a_failure_to_connect_tells_the_systems_words():
    assert (
        "Name or service not known"
        in explain("d", wrapped(socket.gaierror(-2, "Name or service not known"))).message
    )
    refused = explain("d", wrapped(ConnectionRefusedError(111, "Connection refused")))
    assert (type(refused), "Connection refused" in refused.message, refused.code) == (TransientError, True, "2003")


def test_a_certificate_that_is_not_trusted_is_a_configuration_error_of_its_own():
    error = wrapped(ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate"))
    assert number_of(error) == NO_TLS
    told = explain("d", error)
    assert (type(told), told.path) == (ConfigurationError, "drive_table.tls")
    assert "self-signed" in told.message


def test_long_words_are_cut():
    assert len(explain("d", OperationalError(1064, "x" * 5000)).message) < 400


def test_an_error_without_a_number_is_transient():
    assert number_of(InternalError("Packet sequence number wrong - got 3 expected 1")) == 0
    assert type(explain("d", InternalError("Packet sequence number wrong"))) is TransientError


def test_a_secret_is_hidden_also_where_the_words_are_cut_x9():
    remember("canary-of-a-password")
    error = explain("d on h:1", OperationalError(1045, "x" * 290 + " canary-of-a-password was refused"))
    assert "canary" not in error.message
