"""HTTP servers as context managers."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from state.errors import ConfigurationError


def _told(record: logging.LogRecord) -> bool:
    """A request that cannot be read is its sender's error: a warning in one sentence, without what was sent."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | web.RequestPayloadError):
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        record.msg, record.args = "a request could not be read: %s", (type(error).__name__,)
        record.exc_info = record.exc_text = None
    return True


_log = logging.getLogger(__name__)
_log.addFilter(_told)


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int, setting: str) -> AsyncIterator[int]:
    """Serve `app`; gives the port that was taken. Raises `ConfigurationError` that names `setting`."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0, logger=_log)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port}: {(error.strerror or 'error').lower()}",
                hint=f"Set {setting}.host and {setting}.port to an address of this machine that nobody uses.",
                code="listen",
                path=f"{setting}.port",
            ) from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
