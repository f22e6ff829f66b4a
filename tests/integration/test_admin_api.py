"""`/v1` of a running daemon, asked over HTTP: what it shows, what it does, whom it lets in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from service.admin.auth import MOST_FAILURES
from service.admin.ports import opened_ports
from service.daemon.pulse import Pulse
from state.model import RunStatus
from tests.lifecycle.test_daemon import Heard, enrol, finished, serving, world
from tests.lifecycle.world import HOUR, START

READ, OPERATE = "look-only-token", "may-act-token"

LOADED = finished(2)
"""Both windows of the world."""


class Api:
    """A client of one daemon's admin API."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._base = f"http://127.0.0.1:{port}"

    async def __call__(self, method: str, path: str, body=None, *, token: str | None = OPERATE, key: str = ""):
        """Status, body and headers of the answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"Idempotency-Key": key} if key else {}
        async with self._session.request(method, self._base + path, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers


@asynccontextmanager
async def api(
    root, monkeypatch, *, wait=LOADED, also=lambda _event: None, **settings
) -> AsyncIterator[tuple[Api, Heard]]:
    """A daemon with its ports, once `wait` says so."""
    monkeypatch.setenv("READ_TOKEN", READ)
    (root / "operate.token").write_text(OPERATE + "\n")
    admin = {
        "port": 0,
        "read_tokens": [{"env": "READ_TOKEN"}],
        "operate_tokens": [{"file": str(root / "operate.token")}],
    }
    settings = {"admin": admin, "health": {"host": "127.0.0.1", "port": 0}, **settings}
    pulse = Pulse(lambda _lag: None, 30)
    async with (
        serving(root, also, **settings) as (daemon, heard, _task),
        opened_ports(daemon, pulse, lambda _accept: (b"", "text/plain")) as (_health, port),
        aiohttp.ClientSession() as session,
    ):
        await heard.until(wait)
        yield Api(session, port), heard


def test_a_pipeline_its_windows_runs_and_proof_are_shown(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            status, found, _ = await ask("GET", "/v1/pipelines", token=READ)
            assert status == 200
            assert [p["name"] for p in found["pipelines"]] == ["events"]
            _, ledger, _ = await ask("GET", "/v1/pipelines/events/windows", token=READ)
            assert [w["fate"] for w in ledger["windows"]] == ["loaded", "loaded"]
            _, runs, _ = await ask("GET", "/v1/pipelines/events/runs?status=COMPLETED&limit=1", token=READ)
            [run] = runs["runs"]
            assert (run["status"], run["rows"]) == ("COMPLETED", 60)
            _, report, _ = await ask("GET", f"/v1/pipelines/events/runs/{run['name']}", token=READ)
            assert report["validation_status"] == "PASSED"
            assert report["proof"]
            _, gaps, _ = await ask("GET", "/v1/pipelines/events/gaps", token=READ)
            assert gaps["gaps"] == []

    asyncio.run(go())


def test_a_backfill_over_http_is_dry_by_default_idempotent_and_refused_where_runs_overlap(tmp_path, monkeypatch):
    one = world(tmp_path, "events")
    enrol(tmp_path, one)
    span = {"from": START.isoformat(), "to": (START + HOUR).isoformat()}
    path = "/v1/pipelines/events/backfills"

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, heard):
            status, plan, _ = await ask("POST", path, span)
            assert (status, plan["dry_run"], len(plan["windows"]), plan["runs"]) == (200, True, 1, [])
            status, refused, _ = await ask("POST", path, {**span, "dry_run": False})
            assert (status, refused["code"]) == (422, "no_key")
            await ask("POST", "/v1/pipelines/events/pause")
            status, begun, _ = await ask("POST", path, {**span, "dry_run": False}, key="k")
            assert (status, len(begun["runs"])) == (200, 1)
            status, again, _ = await ask("POST", path, {**span, "dry_run": False}, key="k")
            assert (status, again["runs"][0]["name"]) == (200, begun["runs"][0]["name"])
            status, overlap, _ = await ask("POST", path, {**span, "dry_run": False}, key="k2")
            assert (status, overlap["code"]) == (409, "overlap")
            await ask("POST", "/v1/pipelines/events/resume")
            await heard.until(finished(3))
            _, done, _ = await ask("GET", f"{path}/k", token=READ)
            assert (done["done"], done["runs"][0]["status"]) == (1, RunStatus.COMPLETED.value)

    asyncio.run(go())
    assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]


def test_a_read_token_may_look_and_not_act_and_no_token_gets_one_constant_answer_x1(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            _, document, _ = await ask("GET", "/v1/openapi.json", token=READ)
            for path, methods in document["paths"].items():
                filled = path.format(pipeline="events", run="events_20251115_00h_run1", key="k")
                for method, operation in methods.items():
                    may_act = "may act" in operation["description"]
                    status, _, _ = await ask(method.upper(), filled, {}, token=READ)
                    assert (status == 403) == may_act, (method, path)
            bodies = set()
            for token in (None, "wrong", READ[:-1]):
                status, body, _ = await ask("GET", "/v1/pipelines", token=token)
                assert status == 401
                bodies.add(str({key: value for key, value in body.items() if key != "request_id"}))
            assert len(bodies) == 1

    asyncio.run(go())


def test_who_guesses_tokens_is_told_to_wait_x1(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            for _ in range(MOST_FAILURES):
                assert (await ask("GET", "/v1/pipelines", token="guess"))[0] == 401
            status, _, headers = await ask("GET", "/v1/pipelines", token="guess")
            assert status == 429
            assert int(headers["Retry-After"]) > 0

    asyncio.run(go())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[]", 400),
        (b'{"from": 1, "to": 2}', 400),
        (b'{"from": "2025-11-15T00:00:00Z", "to": "2025-11-15T01:00:00Z", "wet_run": true}', 400),
        (b'{"from": "2025-11-15T01:00:00Z", "to": "2025-11-15T00:00:00Z"}', 422),
        (b'{"from": "2025-11-15T00:00:00", "to": "2025-11-15T01:00:00"}', 400),
        (b'{"from": "2999-01-01T00:00:00Z", "to": "2999-01-02T00:00:00Z"}', 422),
        (b"[" * 100_000, 413),
    ],
)
def test_a_body_that_is_not_what_it_must_be_is_refused_in_one_form_x2(tmp_path, monkeypatch, body, status):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            url = f"{ask._base}/v1/pipelines/events/backfills"
            headers = {"Authorization": f"Bearer {OPERATE}", "Content-Type": "application/json"}
            async with ask._session.post(url, data=body, headers=headers) as answer:
                told = await answer.json()
                assert (answer.status, answer.content_type) == (status, "application/problem+json")
                assert told["detail"]
                assert told["request_id"] == answer.headers["X-Request-Id"]

    asyncio.run(go())


def test_a_body_that_does_not_come_is_not_waited_for_x2(tmp_path, monkeypatch):
    """Who sends it byte by byte would hold a handler for ever."""
    monkeypatch.setattr("service.admin.app.BODY_SECONDS", 0.1)
    enrol(tmp_path, world(tmp_path, "events"))
    gone = asyncio.Event()

    async def slowly():
        yield b"{"
        await gone.wait()

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, _heard):
            url = f"{ask._base}/v1/pipelines/events/backfills"
            for kind in ("application/json", "application/x-www-form-urlencoded"):
                headers = {"Authorization": f"Bearer {OPERATE}", "Content-Type": kind}
                async with ask._session.post(url, data=slowly(), headers=headers) as answer:
                    assert answer.status == 408
            gone.set()

    asyncio.run(go())
