"""How far this machine's clock is from Snowflake's, for the error that says so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from state.snowflake.settings import SnowflakeConnection

SECONDS = 10
"""Longest time that the answer is waited for."""


async def clock_offset(settings: SnowflakeConnection) -> float | None:
    """Seconds that Snowflake's clock is ahead of this one, to the second; None if it cannot be had."""
    host = settings.host or f"{settings.account.replace('_', '-')}.snowflakecomputing.com"
    port = "" if settings.port is None else f":{settings.port}"
    date = await asyncio.to_thread(_date, f"{settings.protocol}://{host}{port}/")
    if date is None:
        return None
    return (date - datetime.now(UTC)).total_seconds()


def _date(url: str) -> datetime | None:
    """The `Date` header of whatever the server answers."""
    try:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=SECONDS) as answer:
                header = answer.headers["Date"]
        except HTTPError as error:
            with error:
                header = error.headers["Date"]
        return None if header is None else parsedate_to_datetime(header)
    except (OSError, ValueError):
        return None
