"""Settings of a connection to Snowflake."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from state.errors import ConfigurationError
from state.snowflake.login import options
from state.snowflake.parameters import parameters, require, setting
from state.snowflake.settings import SnowflakeConnection
from state.snowflake.tag import Tag

WHO = {"account": "org-acc", "user": "U", "role": "R", "warehouse": "W"}
KEY = {"private_key": {"file": "/secrets/key.p8"}}


def made(**given) -> SnowflakeConnection:
    return SnowflakeConnection.model_validate(WHO | given)


def problem(**given) -> str:
    with pytest.raises(ValidationError) as caught:
        made(**given)
    return str(caught.value)


@pytest.mark.parametrize(
    "credential",
    [
        KEY,
        KEY | {"private_key_passphrase": {"env": "P"}},
        {"programmatic_access_token": {"env": "T"}},
        {"oauth_token": {"file": "/run/token"}},
        {"password": {"env": "P"}, "allow_password": True},
    ],
)
def test_each_way_to_prove_who_one_is_can_be_set_n7(credential):
    assert made(**credential)


def test_a_password_is_refused_unless_it_is_permitted_n7():
    assert "private_key" in problem(password={"env": "P"})
    assert "allow_password" in problem(password={"env": "P"})


@pytest.mark.parametrize("given", [{}, KEY | {"oauth_token": {"env": "T"}}])
def test_exactly_one_credential_is_given(given):
    assert "exactly one of private_key" in problem(**given)


def test_a_secret_itself_is_never_a_setting_x9():
    assert "CANARY" not in str(made(**KEY))
    assert problem(private_key="CANARY")
    assert "private_key_passphrase" in problem(oauth_token={"env": "T"}, private_key_passphrase={"env": "P"})


@pytest.mark.parametrize(
    "name", ["https://org-acc", "acc/x", "a b", "acc:443", "a@b", "-a", "acc.", "a#b", "a?b", "é"]
)
@pytest.mark.parametrize("setting", ["account", "host"])
def test_a_name_that_is_more_than_a_name_is_refused(setting, name):
    assert "the name alone" in problem(**KEY, **{setting: name})


def test_a_host_name_is_no_account_identifier():
    assert "goes into host" in problem(**KEY, account="org-acc.snowflakecomputing.com")
    assert made(**KEY, host="org-acc.privatelink.snowflakecomputing.com", account="org_1-acc_2.eu-central-1").host


@pytest.mark.parametrize("host", [None, "acc.example.com", "10.0.0.1"])
def test_the_wire_is_encrypted_but_to_this_machine_x12(host):
    assert "https" in problem(protocol="http", host=host, **KEY)


def test_a_server_on_this_machine_may_speak_plainly():
    assert made(protocol="http", host="127.0.0.1", **KEY).protocol == "http"


@pytest.mark.parametrize("name", [name for name in SnowflakeConnection.model_fields if name.endswith("_seconds")])
@pytest.mark.parametrize("value", [0, -1, 604_801, 1.5, "60"])
def test_no_time_limit_is_without_limit_n2(name, value):
    assert name in problem(**KEY, **{name: value})


def test_every_time_limit_of_the_driver_is_set_n2():
    given = options(made(**KEY, statement_timeout_seconds=10, request_timeout_seconds=7), Tag())
    assert {
        name: given[name] for name in ("login_timeout", "request_timeout", "retry_timeout", "query_timeout")
    } == {
        "login_timeout": 60,
        "request_timeout": 7,
        "retry_timeout": 7,
        "query_timeout": 17,
    }
    assert given["retry_max_attempts"] == given["put_get_max_attempts"] == 5


WANTED = {
    "QUERY_TAG": '{"app":"sluiceway"}',
    "STATEMENT_TIMEOUT_IN_SECONDS": "11",
    "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": "12",
    "LOCK_TIMEOUT": "13",
    "TRANSACTION_ABORT_ON_ERROR": "true",
    "ERROR_ON_NONDETERMINISTIC_MERGE": "true",
    "TIMEZONE": "UTC",
    "QUOTED_IDENTIFIERS_IGNORE_CASE": "false",
    "ABORT_DETACHED_QUERY": "true",
    "AUTOCOMMIT": "true",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    "ROWS_PER_RESULTSET": "0",
}
LIMITS = {"statement_timeout_seconds": 11, "queued_timeout_seconds": 12, "lock_timeout_seconds": 13}


def test_a_session_is_opened_with_these_parameters_n4_n5():
    settings = made(**KEY, **LIMITS)
    assert parameters(settings, Tag()) == WANTED
    given = options(settings, Tag())
    assert given["session_parameters"] == WANTED | {"CLIENT_TELEMETRY_ENABLED": "false"}
    assert given["secondary_roles"] == "NONE"


def test_parameters_that_came_as_asked_for_are_enough_n4():
    require(WANTED, {name: value.upper() for name, value in WANTED.items()} | {"OTHER": "x"})


@pytest.mark.parametrize("name", WANTED)
@pytest.mark.parametrize("found", ["77", None])
def test_each_parameter_that_came_otherwise_is_named_n4(name, found):
    shown = WANTED | {name: found} if found else {key: value for key, value in WANTED.items() if key != name}
    with pytest.raises(ConfigurationError, match=name) as caught:
        require(WANTED, shown)
    assert caught.value.code == "session_parameters"
    assert caught.value.hint


def test_parameters_are_set_by_one_statement_that_quotes_what_needs_it_n4():
    assert setting({"LOCK_TIMEOUT": "13", "AUTOCOMMIT": "true", "QUERY_TAG": '{"run":"a\'b"}'}) == (
        "ALTER SESSION SET LOCK_TIMEOUT = 13 AUTOCOMMIT = true QUERY_TAG = '{\"run\":\"a''b\"}'"
    )


def test_nothing_beside_the_account_is_asked_and_nothing_is_kept():
    given = options(made(**KEY), Tag())
    assert [given[name] for name in ("client_session_keep_alive", "client_store_temporary_credential")] == [
        False
    ] * 2
    assert given["client_out_of_band_telemetry_enabled"] is False
    assert "host" not in given
    assert "port" not in given
