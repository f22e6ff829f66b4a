"""The ports of a daemon: probes and metrics on one, the admin API on another."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

from service.admin.app import admin_app
from service.admin.auth import Tokens
from service.admin.health import Metrics, health_app
from service.admin.page.pages import Page
from service.admin.serving import listening
from service.admin.v1 import operations
from service.daemon.actions import Actions
from service.daemon.daemon import Daemon
from service.daemon.pulse import Pulse
from service.events import Listening

NO_TOKENS = (
    "no token is configured, so the admin API lets nobody in: set admin.read_tokens and admin.operate_tokens"
    " in daemon.yaml, or admin.enabled: false"
)

_log = logging.getLogger(__name__)


@asynccontextmanager
async def opened_ports(daemon: Daemon, pulse: Pulse, metrics: Metrics) -> AsyncIterator[tuple[int, int | None]]:
    """Serve for as long as the block lasts; gives the port of the probes, and of the admin API if it is on."""
    settings = daemon.settings
    probes = health_app(lambda: pulse.is_stalled, daemon.why_not_ready, metrics)
    async with AsyncExitStack() as ports:
        health = await ports.enter_async_context(
            listening(probes, settings.health.host, settings.health.port, "health")
        )
        daemon.emit(Listening("health", url(settings.health.host, health)))
        if not settings.admin.enabled:
            yield health, None
            return
        admin = settings.admin
        tokens = Tokens(admin.read_tokens, admin.operate_tokens)
        if not tokens.any:
            _log.warning(NO_TOKENS)
        actions, release = Actions(daemon, admin.most_windows), version("sluiceway")
        page = Page(daemon, actions, release)
        app = admin_app(operations(daemon, actions), tokens, page, release)
        port = await ports.enter_async_context(listening(app, admin.host, admin.port, "admin"))
        daemon.emit(Listening("admin", url(admin.host, port)))
        yield health, port


def url(host: str, port: int) -> str:
    """Where a port is, as it is typed."""
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
