"""Session parameters that every session has: sent with the login, read back before it is used (N-4)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from state.errors import ConfigurationError
from state.snowflake.names import text
from state.snowflake.settings import SnowflakeConnection
from state.snowflake.tag import Tag

PLAIN = re.compile(r"\d+|true|false")
"""Values that a statement takes without quotes."""


def parameters(settings: SnowflakeConnection, tag: Tag) -> dict[str, str]:
    """The parameters of a session, as Snowflake shows them.

    `ABORT_DETACHED_QUERY` is true (N-5): a statement of a process that is gone ends by itself, and what became of
    it is settled by fence and receipt. Long statements are asked for all the time that they run, which keeps them.
    """
    return {
        "QUERY_TAG": str(tag),
        "STATEMENT_TIMEOUT_IN_SECONDS": str(settings.statement_timeout_seconds),
        "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": str(settings.queued_timeout_seconds),
        "LOCK_TIMEOUT": str(settings.lock_timeout_seconds),
        "TRANSACTION_ABORT_ON_ERROR": "true",
        "ERROR_ON_NONDETERMINISTIC_MERGE": "true",
        "TIMEZONE": "UTC",
        "QUOTED_IDENTIFIERS_IGNORE_CASE": "false",
        "ABORT_DETACHED_QUERY": "true",
        "AUTOCOMMIT": "true",
        "TIMESTAMP_INPUT_FORMAT": "AUTO",  # how bound instants are read
        "ROWS_PER_RESULTSET": "0",  # no answer is cut short
    }


def differing(wanted: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """Those of the wanted parameters that are not so."""
    return {name: value for name, value in wanted.items() if found.get(name, "").lower() != value.lower()}


def setting(wanted: Mapping[str, str]) -> str:
    """The statement that sets these parameters in a session that is open."""
    told = (f"{name} = {value if PLAIN.fullmatch(value) else text(value)}" for name, value in wanted.items())
    return f"ALTER SESSION SET {' '.join(told)}"


def require(wanted: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raise `ConfigurationError` if a parameter did not become what was asked for."""
    wrong = [
        f"{name} is {found.get(name, 'not shown')!r} instead of {value!r}"
        for name, value in differing(wanted, found).items()
    ]
    if wrong:
        raise ConfigurationError(
            f"Snowflake did not take the parameters of the session: {'; '.join(wrong)}",
            hint="Look for what sets them for this user or account (SHOW PARAMETERS FOR USER).",
            code="session_parameters",
        )
