"""`/healthz`, `/readyz` and `/metrics`: for probes and Prometheus, without tokens, without anything secret.

Liveness is the event loop alone: whatever is down elsewhere, restarting this process would not mend it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

Metrics = Callable[[str], tuple[bytes, str]]
"""The body of `/metrics` and its content type, for what a client accepts; called in a thread."""


def health_app(
    stalled: Callable[[], bool], why_not_ready: Callable[[], list[str]], metrics: Metrics
) -> web.Application:
    """The probes. `stalled`: the event loop stood still too long; `why_not_ready`: codes, empty if ready."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(status=503, text="stalled\n") if stalled() else web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        reasons = why_not_ready()
        return (
            web.Response(status=503, text="".join(f"{r}\n" for r in reasons))
            if reasons
            else web.Response(text="ok\n")
        )

    async def scraped(request: web.Request) -> web.Response:
        body, kind = await asyncio.to_thread(metrics, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": kind})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", scraped)])
    return app
