"""The pulse of the event loop and the probes that ask for it (S-6, K-3)."""

from __future__ import annotations

import asyncio
import time

from aiohttp.test_utils import TestClient, TestServer

from service.admin.health import health_app
from service.daemon.pulse import Pulse

STALLED, BLOCKED = 0.2, 0.5


async def until(true) -> None:
    while not true():  # noqa: ASYNC110 - beats come as plain calls
        await asyncio.sleep(0)


async def test_a_loop_that_stood_still_is_told_of_until_it_runs_again():
    """Either it is asked before the next beat, or the beat that came too late says so."""
    beats: list[tuple[float, bool]] = []

    def observe(lag: float) -> None:
        asyncio.get_running_loop().call_soon(lambda: beats.append((lag, pulse.is_stalled)))  # the next beat began

    pulse = Pulse(observe, STALLED)
    beating = asyncio.create_task(pulse.keep())
    await until(lambda: beats and not pulse.is_stalled)
    seen = len(beats)
    time.sleep(BLOCKED)  # noqa: ASYNC251 - it is the point
    assert pulse.is_stalled
    await until(lambda: len(beats) > seen)
    lag, stalled = beats[seen]
    assert stalled
    assert lag > STALLED
    await until(lambda: not pulse.is_stalled)
    beating.cancel()
    await asyncio.wait([beating])


async def test_liveness_asks_for_the_loop_alone_and_readiness_names_its_reasons():
    """What is down elsewhere never restarts the process."""
    stalled, reasons = False, ["unreachable"]
    app = health_app(lambda: stalled, lambda: reasons, lambda _accept: (b"", "text/plain"))
    async with TestClient(TestServer(app)) as client:

        async def said(path: str) -> tuple[int, str]:
            answer = await client.get(path)
            return answer.status, await answer.text()

        assert await said("/healthz") == (200, "ok\n")
        assert await said("/readyz") == (503, "unreachable\n")
        stalled, reasons = True, []
        assert await said("/healthz") == (503, "stalled\n")
        assert await said("/readyz") == (200, "ok\n")
