"""A real Prometheus scrapes what `Metrics` gives: each series has the value that the events imply (O-1, O-2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import pytest
from aiohttp import web

from service.admin.health import health_app
from service.events import PipelineAdded
from service.metrics import Metrics
from tests.servers.prometheus import Prometheus, instance_of
from tests.unit.metric_script import Key, of_flights, of_phases, of_process, whole_run, whole_story


@asynccontextmanager
async def serving(metrics: Metrics, port: int, accepted: list[str]) -> AsyncIterator[None]:
    """The daemon's `/metrics` on `port`; what a client asks for goes to `accepted`."""

    def scraped(accept: str) -> tuple[bytes, str]:
        accepted.append(accept)
        return metrics.text(accept)

    app = health_app(lambda: False, list, scraped)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


def series(prometheus: Prometheus, port: int) -> dict[Key, float]:
    """Every series of ours that Prometheus has of a target now, without the labels that it adds."""
    found = prometheus.query(f'{{__name__=~"sluiceway_.*",instance="{instance_of(port)}"}}')
    own = [{k: v for k, v in one.labels.items() if k not in ("__name__", "instance", "job")} for one in found]
    return {
        (one.labels["__name__"], tuple(sorted(labels.items()))): one.value
        for one, labels in zip(found, own, strict=True)
    }


async def test_prometheus_has_the_values_that_the_events_imply(prometheus):
    metrics, accepted, port = Metrics(), [], prometheus.port_to_serve()
    for event in whole_story():
        metrics.hear(event)
    async with serving(metrics, port, accepted):
        await asyncio.to_thread(prometheus.caught_up, port)
        found = await asyncio.to_thread(series, prometheus, port)
    expected = {**of_flights(), **of_phases(), **of_process(version("sluiceway"))}
    assert {series: value for series, value in found.items() if value} == expected
    assert any("openmetrics" in accept for accept in accepted)


async def test_a_rate_sees_the_first_time_too(prometheus):
    metrics, port = Metrics(), prometheus.port_to_serve()
    metrics.hear(PipelineAdded("flights"))
    done = f'sluiceway_windows_total{{instance="{instance_of(port)}",result="completed"}}'
    async with serving(metrics, port, []):
        await asyncio.to_thread(prometheus.caught_up, port)
        for event in whole_run():
            metrics.hear(event)
        await asyncio.to_thread(prometheus.caught_up, port)
        assert await asyncio.to_thread(prometheus.value, done) == 1
        assert await asyncio.to_thread(prometheus.value, f"changes({done}[1m])") == 1


async def test_a_target_that_is_not_there_is_told_with_the_reason(prometheus, monkeypatch):
    monkeypatch.setattr("tests.servers.prometheus.ANSWER_SECONDS", 1)
    with pytest.raises(RuntimeError, match="connection refused"):
        await asyncio.to_thread(prometheus.caught_up, prometheus.port_to_serve())
