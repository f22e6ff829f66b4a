"""The driver, told to mind its own business: one import place for it, without its side effects.

Imported before the driver is: it reads the environment when it first connects.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from contextlib import suppress

os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
# else every first login asks 169.254.169.254 and two host names which cloud this machine stands in

from typing import Any

from snowflake.connector import aio, errors

warnings.filterwarnings("ignore", "`ReauthenticationRequest` currently subclasses", FutureWarning)
# names a class that is not used here: errors are told by their number

for _name in ("snowflake.connector", "sf_core"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # what it tells is raised as well, and told from there


CLOSE_SECONDS = 10.0
"""Longest time of ending a session: the driver has five seconds for that, and is not relied on."""


class Connection(aio.SnowflakeConnection):  # type: ignore[misc,unused-ignore]
    """A session of the driver that leaves nothing behind where a login fails.

    The driver keeps what it had set up for it, some 15 KB, for as long as the process lives: too much where a
    server cannot be reached for days.
    """

    async def _initialize_core_connection(self, conn_handle: Any, db_handle: Any) -> None:
        try:
            await super()._initialize_core_connection(conn_handle, db_handle)
        except BaseException:
            self._release_connection_handle(conn_handle)
            self._release_database_handle(db_handle)
            raise


async def closed(connection: Connection) -> None:
    """End a session; its open transaction is rolled back. Neither a server nor a driver that does not answer is
    waited for: Snowflake ends it by itself. Raises nothing but a cancellation."""
    with suppress(errors.Error, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.close(retry=False)


__all__ = ["Connection", "closed", "errors"]
