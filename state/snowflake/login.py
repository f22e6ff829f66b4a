"""Logging in: the credential, one login at a time, and a pause after a refusal (N-2, N-7, N-8, N-9)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from state.errors import ConfigurationError, SluicewayError, Unreachable
from state.port import Port
from state.snowflake.clock import clock_offset
from state.snowflake.driver import Connection
from state.snowflake.driver import errors as vendor
from state.snowflake.errors import explain
from state.snowflake.meanings import AWAY, STALE_SECRET
from state.snowflake.names import identifier
from state.snowflake.parameters import parameters
from state.snowflake.settings import SnowflakeConnection
from state.snowflake.tag import Tag

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 1_800.0
"""Seconds without a login after a refused one; doubled by each further refusal."""

LOGOUT_SECONDS = 5
"""Longest time of saying goodbye; a session that is not told ends by itself."""

TRIES = 5
"""HTTP tries of one request. The driver repeats it under the same id, so that the server runs it once."""

SAME_SECONDS = 5
"""Up to so many seconds the answers of a server cannot tell two clocks apart."""

WAITS_MILLISECONDS = (250, 4_000)
"""Shortest and longest wait between two tries; the driver crashes on a longest that is shorter."""


class Login:
    """The logins of one process to one account.

    One at a time: whoever waits while another login fails gets that failure instead of a try of its own. After a
    refusal that an operator must mend, none is tried with the same credential until the pause is over: a user that
    many workers hammer at is locked.
    """

    def __init__(self, settings: SnowflakeConnection, *, clock: Callable[[], float], port: Port) -> None:
        self._settings = settings
        self._clock = clock
        self._port = port
        self._turn = asyncio.Lock()
        self._failures = 0
        self._failure: SluicewayError | None = None
        self._refused = b""
        self._refusals = 0
        self._until = 0.0

    async def connect(self, tag: Tag) -> Connection:
        """A new session of the driver. Raises what became of it: `ConfigurationError` also while a pause lasts."""
        arrived = self._failures
        async with self._turn:
            if self._failure is not None and self._failures > arrived:
                raise _copied(self._failure)
            secret = self._secret()
            if self._failure is not None and self._pauses(secret):
                raise _copied(self._failure)
            try:
                connection = await self._login(secret, tag)
            except vendor.Error as error:
                self._failures += 1
                self._failure = await self._refusal(error, secret)
                raise self._failure from error
            self._failure, self._refusals, self._refused = None, 0, b""
            return connection

    async def _login(self, secret: Mapping[str, str], tag: Tag) -> Connection:
        try:
            return await self._open(secret, tag)
        except vendor.Error as error:
            if error.errno not in STALE_SECRET or (again := self._secret()) == secret:
                raise
        return await self._open(again, tag)  # it was replaced while this login was on its way

    async def _open(self, secret: Mapping[str, str], tag: Tag) -> Connection:
        with self._port("snowflake.login"):
            connection = Connection(**(options(self._settings, tag) | dict(secret)))
            await connection.connect()
            return connection

    def _secret(self) -> dict[str, str]:
        """The credential as the driver takes it, read now."""
        settings = self._settings
        if settings.private_key is not None:
            given = {"authenticator": "SNOWFLAKE_JWT", "private_key": settings.private_key.read()}
            if settings.private_key_passphrase is not None:
                given["private_key_password"] = settings.private_key_passphrase.read()
            return given
        if (token := settings.programmatic_access_token) is not None:
            return {"authenticator": "PROGRAMMATIC_ACCESS_TOKEN", "token": token.read()}
        if (token := settings.oauth_token) is not None:
            return {"authenticator": "OAUTH", "token": token.read()}
        assert settings.password is not None  # the settings hold exactly one credential
        return {"authenticator": "SNOWFLAKE", "password": settings.password.read()}

    def _pauses(self, secret: Mapping[str, str]) -> bool:
        return self._clock() < self._until and _fingerprint(secret) == self._refused

    async def _refusal(self, error: vendor.Error, secret: Mapping[str, str]) -> SluicewayError:
        """What a failed login becomes. One that only an operator can mend begins a pause."""
        settings = self._settings
        found = explain(error, f"login to Snowflake account {settings.account} as {settings.user}", changes=False)
        if found.code == "lost":  # of a login that nobody answers, nothing is lost
            return Unreachable(found.message, hint=AWAY, code="unreachable")
        if not isinstance(found, ConfigurationError) and found.code != "oauth_expired":
            return found
        if found.code == "clock":
            with self._port("snowflake.clock"):
                found = _told_more(found, await clock_offset(settings))
        pause = min(FIRST_PAUSE * 2**self._refusals, LONGEST_PAUSE)
        self._refusals += 1
        self._refused, self._until = _fingerprint(secret), self._clock() + pause
        until = (datetime.now(UTC) + timedelta(seconds=pause)).strftime("%Y-%m-%d %H:%M:%S UTC")
        return type(found)(
            f"{found.message}; no login is tried before {until}, so that the user is not locked",
            hint=f"{hint_of(found, settings)} A changed credential is tried at once, and so is a restart.",
            code=found.code,
        )


def hint_of(error: SluicewayError, settings: SnowflakeConnection) -> str:
    """What to do about a login that failed."""
    if error.code != "role":
        return error.hint
    return f"GRANT ROLE {identifier(settings.role)} TO USER {identifier(settings.user)};"


def options(settings: SnowflakeConnection, tag: Tag) -> dict[str, Any]:
    """How the driver is to connect, without the credential: nothing beside the account is asked or written."""
    given: dict[str, Any] = {
        "account": settings.account,
        "user": settings.user,
        "role": settings.role,
        "warehouse": settings.warehouse,
        "protocol": settings.protocol,
        "application": "Sluiceway",
        "paramstyle": "qmark",
        "secondary_roles": "NONE",
        "autocommit": True,
        "session_parameters": parameters(settings, tag) | {"CLIENT_TELEMETRY_ENABLED": "false"},
        "login_timeout": settings.login_timeout_seconds,
        "request_timeout": settings.request_timeout_seconds,
        "retry_timeout": settings.request_timeout_seconds,
        "query_timeout": settings.statement_timeout_seconds + settings.request_timeout_seconds,
        "retry_max_attempts": TRIES,
        "retry_backoff_base_ms": WAITS_MILLISECONDS[0],
        "retry_backoff_cap_ms": WAITS_MILLISECONDS[1],
        "put_get_max_attempts": TRIES,
        "client_session_keep_alive": False,
        "client_store_temporary_credential": False,
        "client_out_of_band_telemetry_enabled": False,
        "server_session_keep_alive": False,
        "enable_server_session_keep_alive_auto_detection": False,
        "logout_max_attempts": 1,
        "logout_total_timeout_seconds": LOGOUT_SECONDS,
    }
    if settings.host is not None:
        given["host"] = settings.host
    if settings.port is not None:
        given["port"] = settings.port
    return given


def _told_more(error: SluicewayError, offset: float | None) -> SluicewayError:
    if offset is None:
        return error
    told = f"this machine's clock is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} Snowflake's"
    if abs(offset) < SAME_SECONDS:
        told = f"by its answers, Snowflake's clock and this machine's differ by less than {SAME_SECONDS} s"
    return type(error)(f"{error.message}; {told}", hint=error.hint, code=error.code)


def _fingerprint(secret: Mapping[str, str]) -> bytes:
    return hashlib.sha256(repr(sorted(secret.items())).encode()).digest()


def _copied(error: SluicewayError) -> SluicewayError:
    return type(error)(error.message, hint=error.hint, code=error.code)
