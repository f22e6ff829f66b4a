"""Snowflake's errors and what they mean: each row of the table, and of reliability's §12.2 (T-10)."""

from __future__ import annotations

import pytest
from snowflake.connector import errors as vendor

from state.errors import (
    ConfigurationError,
    ContractError,
    PermanentError,
    RestartAttempt,
    TransientError,
    UnknownOutcome,
    Unreachable,
)
from state.masking import remember
from state.snowflake.errors import _found, ends_session, explain
from state.snowflake.meanings import MEANINGS

P, O, D = vendor.ProgrammingError, vendor.OperationalError, vendor.DatabaseError  # noqa: E741
I, X = vendor.InterfaceError, vendor.InternalError  # noqa: E741
T, C, U = TransientError, ConfigurationError, UnknownOutcome
RETRIED = "HTTP request failed after retries: query request. "
LOGIN = "Failed to login: HTTP request failed after retries: login request. "
WAITERS = (
    "Your statement 'x' was aborted because the number of waiters for this lock exceeds the 20 statements limit."
)
TIMEOUT = "Statement reached its statement or warehouse timeout of 5 second(s) and was canceled."
BAD = "Invalid Snowflake response. "

ROWS = [
    # connection lost or timeout after it was sent
    (O, 4, None, f"{RETRIED}connection closed before message completed", U, "lost"),
    (O, 4, None, f"{RETRIED}Connection refused (os error 111)", U, "lost"),
    (O, 5, None, "Cancelled", U, "lost"),
    (O, 14, "HYT00", "Query timed out after 10s", U, "lost"),
    (O, 250003, "08001", "Failed to get the response", U, "lost"),
    (O, -1, None, "Driver communication error", U, "lost"),
    (X, -1, None, "?", U, "garbled"),
    (X, 6, None, f"{BAD}expected value at line 1 column 1", U, "garbled"),
    # HTTP 429 and 5xx when the driver's tries are used up
    (O, 4, None, f"{RETRIED}max attempts (5) reached; last status 503 Service", U, "http_503"),
    (O, 4, None, f"{RETRIED}max attempts (5) reached; last status 429 Too Many", U, "http_429"),
    (O, 290503, "08001", "503 Service Unavailable", U, "http_503"),
    (O, 290429, "08001", "429 Too Many Requests", U, "http_429"),
    (D, 250001, "08001", f"{LOGIN}max attempts (5) reached; last status 503 x", T, "http_503"),
    # HTTP 403, 405, 400: once more in a new session, and then the login says it
    (X, 6, None, f"{BAD}responded with error status: 403 Forbidden", T, "http_403"),
    (X, 6, None, f"{BAD}responded with error status: 405 Not", T, "http_405"),
    (D, 250001, "08001", f"Failed to login: {BAD}error status: 403 Forbidden", C, "http_403"),
    (D, 250001, "08001", f"Failed to login: {BAD}error status: 400 Bad", C, "http_400"),
    # locks
    (P, 625, "57014", WAITERS, T, "lock_waiters"),
    (P, 625, "57014", "was aborted because it waited longer than LOCK_TIMEOUT, 5 s.", T, "lock_timeout"),
    (P, 625, "57014", "it is the victim of a deadlock.", T, "deadlock"),
    (P, 999_001, "57014", "Lock timeout: could not get it", T, "lock_timeout"),
    (P, 999_001, "57014", "aborted as the victim of a deadlock", T, "deadlock"),
    (P, 637, "25P02", "Transaction 7 was aborted and rolled back", T, "transaction_ended"),
    # cancelled and timed out
    (P, 604, "57014", "SQL execution canceled", U, "cancelled"),
    (P, 630, "57014", "Statement was canceled.", U, "cancelled"),
    (P, 630, "57014", TIMEOUT, T, "statement_timeout"),
    (P, 630, "57014", "Statement reached its queued timeout", T, "queued_timeout"),
    (P, 999_002, "57014", "Queued for longer than allowed", T, "queued_timeout"),
    (P, 999_002, "57014", "was aborted", T, "cancelled"),
    (P, 612, "02000", "Result not found", U, "result_gone"),
    (P, 709, "02000", "Statement 01b2 not found", U, "result_gone"),
    # sessions
    *((P, number, "08001", "over", T, "session_gone") for number in (390110, 390111, 390112, 390113)),
    *((P, number, "08001", "over", T, "session_gone") for number in (390114, 390115, 390195)),
    (D, 250002, "08003", "Connection is closed.", T, "session_gone"),
    (I, 252006, None, "Cursor is closed.", T, "session_gone"),
    (D, 250001, "08001", "Failed to refresh session: no", T, "session_gone"),
    # credentials
    (D, 390303, "08001", "Invalid OAuth access token.", C, "oauth_invalid"),
    (D, 390309, "08001", "The user differs", C, "oauth_invalid"),
    (D, 390318, "08001", "OAuth access token expired.", T, "oauth_expired"),
    *((D, number, "08001", "no", C, "credential") for number in (390100, 390144, 394300, 394304)),
    *((D, number, "08001", "no", C, "credential") for number in (394305, 394306, 394307, 394400)),
    *((D, number, "08001", "no", C, "clock") for number in (394301, 394302, 394303)),
    (D, 250001, "08001", "Failed to login: Authentication failed. Malformed PEM", C, "credential"),
    (D, 390101, "08001", "User access disabled.", C, "user_locked"),
    (D, 390102, "08001", "temporarily locked", C, "user_locked"),
    (D, 390189, "08001", "Role 'R' does not exist", C, "role"),
    (D, 390201, "08001", "The requested database does not exist", C, "object"),
    *((D, number, "08001", "IP not allowed", C, "network_policy") for number in (390420, 390422)),
    (D, 390432, "08001", "Network policy is required.", C, "network_policy"),
    # local settings
    *((P, number, None, "Invalid value", C, "settings") for number in (7, 8, *range(251005, 251011))),
    *((P, number, None, "Invalid value", C, "settings") for number in (251001, 251017, 251018)),
    # the way to the login
    (D, 250001, "08001", f"{LOGIN}invalid peer certificate: UnknownIssuer", C, "tls"),
    (D, 250001, "08001", f"{LOGIN}received corrupt message of type InvalidContentType", C, "tls"),
    (D, 250001, "08001", f"{LOGIN}Connection refused (os error 111)", Unreachable, "unreachable"),
    (D, 250001, "08001", f"{LOGIN}failed to lookup address information", Unreachable, "unreachable"),
    # files
    (O, 253003, None, "Failed to upload", T, "upload"),
    (P, 253006, None, "File doesn't exist", RestartAttempt, "local_file"),
    (P, 91016, "22000", "Remote file 'a/b.parquet' was not found.", RestartAttempt, "stage_file_missing"),
    # statements
    (P, 2003, "42S02", "Object 'T' does not exist or not authorized.", C, "object"),
    (P, 2043, "02000", "Object does not exist, or operation cannot be performed.", C, "object"),
    (P, 999_003, "42S02", "Stage 'S' does not exist", C, "object"),
    (P, 3001, "42501", "Insufficient privileges to operate on table 'T'", C, "privilege"),
    (P, 999_004, "42501", "Insufficient privileges", C, "privilege"),
    (P, 904, "42000", "invalid identifier 'X'", C, "sql"),
    (P, 1003, "42000", "syntax error line 1", C, "sql"),
    (P, 999_005, "42601", "syntax error", C, "sql"),
    # data
    (P, 100038, "22018", "Numeric value 'x' is not recognized", ContractError, "value"),
    (P, 100078, "22000", "String 'xx' is too long and would be truncated", ContractError, "value"),
    (vendor.IntegrityError, 100072, "22000", "NULL result in a non-nullable column", ContractError, "value"),
    (vendor.IntegrityError, -1, None, "NULL", ContractError, "value"),
    (I, 252005, None, "Failed to convert rows, cause: year 0 is out of range", ContractError, "value"),
    (P, 100132, "P0000", "some data error", PermanentError, "data"),
    (P, 999_006, "22023", "invalid value", PermanentError, "data"),
    (P, 999_006, "22000", "invalid value", PermanentError, "data"),
    (vendor.DataError, -1, None, "division by zero", PermanentError, "data"),
    (P, 100090, "42P18", "Duplicate row detected during DML action", PermanentError, "duplicate_row"),
    (P, 999_007, "42P18", "Duplicate row detected during DML action", PermanentError, "duplicate_row"),
    # the warehouse
    (P, 606, "57P03", "No active warehouse selected in the current session.", C, "no_warehouse"),
    (P, 999_008, "57P03", "Warehouse is suspended", C, "no_warehouse"),
    (P, 90073, "57P03", "exceeded its quota", C, "resource_monitor"),
    (P, 999_008, "57P03", "stopped by its resource monitor", C, "resource_monitor"),
    # whatever else
    (P, 999_999, "XX123", "?", T, "other"),
    (D, -1, None, "?", T, "other"),
    (I, None, None, "?", T, "other"),
]  # fmt: skip


def made(kind, number, state, text) -> vendor.Error:
    return kind(text, errno=number, sqlstate=state, sfqid="01b2")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[1]}-{row[5]}")
def test_an_error_is_told_by_what_to_do_next_t10(row):
    *given, text, becomes, code = row
    error = explain(made(*given, text), "MERGE on Snowflake account a")
    assert (type(error), error.code) == (becomes, code)
    assert error.message.startswith("MERGE on Snowflake account a: ")
    assert text in error.message
    assert "[query 01b2]" in error.message
    assert error.hint.endswith((".", "?"))


@pytest.mark.parametrize(
    ("kind", "number", "state", "text"), [row[:4] for row in ROWS if row[4] is UnknownOutcome]
)
def test_nothing_is_unknown_about_what_changes_nothing_g4(kind, number, state, text):
    error = explain(made(kind, number, state, text), "SELECT", changes=False)
    assert type(error) is TransientError


def test_attempts_are_bounded_where_one_costs_hours_and_where_nobody_knows_the_error_t10():
    bounds = {row[5]: explain(made(*row[:4]), "x").at_most for row in ROWS if row[4] is TransientError}
    assert {code: bound for code, bound in bounds.items() if bound} == {"statement_timeout": 2, "other": 3}


def test_every_row_of_the_table_has_its_error_here():
    hit = {id(_found(made(*row[:4]))[0]) for row in ROWS}
    assert [meaning.code for meaning in MEANINGS if id(meaning) not in hit] == []


def test_a_number_decides_before_the_state_and_the_state_before_the_class():
    assert explain(made(vendor.IntegrityError, 625, "22000", "x"), "").code == "lock_waiters"
    assert explain(made(vendor.IntegrityError, 999_999, "42501", "x"), "").code == "privilege"
    assert explain(made(vendor.ProgrammingError, 390112, "42000", "syntax"), "").code == "session_gone"


def test_a_refused_statement_leaves_the_session_of_use_and_a_lost_answer_does_not():
    ended = {row[5] for row in ROWS if ends_session(explain(made(*row[:4]), ""))}
    assert {"session_gone", "lost", "garbled", "http_503", "http_403"} <= ended
    assert not {"lock_waiters", "object", "value", "cancelled", "other", "statement_timeout"} & ended


def test_long_words_are_cut_and_stand_on_one_line():
    error = explain(made(P, 1003, "42000", "001003 (42000): " + "bad\n" * 1000), "SELECT")
    assert "\n" not in error.message
    assert len(error.message) < 700
    assert error.message.count("001003") == 1


def test_a_secret_is_hidden_also_where_the_words_are_cut_x9():
    remember("canary-of-a-password")
    words = "x" * 490 + " canary-of-a-password was refused"
    assert "canary" not in explain(made(P, 1003, "42000", words), "SELECT").message
