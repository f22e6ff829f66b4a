"""HTTP servers as context managers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from state.errors import ConfigurationError


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int, setting: str) -> AsyncIterator[int]:
    """Serve `app`; gives the port that was taken. Raises `ConfigurationError` that names `setting`."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
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
