"""The status page as a browser gets it: what it shows and hides, what its forms do, who may send them."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from types import SimpleNamespace

import aiohttp
import msgspec
import pytest

from connectors.files.connector import FilesConnector
from service.admin.page.pages import pace
from service.admin.ports import opened_ports
from service.daemon.pulse import Pulse
from service.events import ConfigRefused, Looked, LookFailed
from state.errors import TransientError
from state.model import Failure, Phase, RunStatus
from tests.integration.test_admin_api import OPERATE, READ
from tests.lifecycle.test_daemon import enrol, finished, serving, world
from tests.lifecycle.world import HOUR, START

SCRIPT = "<script>alert(1)</script>"
FORM = "/v1/pipelines/events/"


def basic(token: str) -> dict[str, str]:
    """What a browser sends of the password that it was given."""
    return {"Authorization": f"Basic {base64.b64encode(f'anybody:{token}'.encode()).decode()}"}


class Browser:
    """A client that does as browsers do: the token as password, forms with the fields of the page."""

    def __init__(self, session: aiohttp.ClientSession, port: int, daemon) -> None:
        self.session, self.daemon = session, daemon
        self.base = f"http://127.0.0.1:{port}"

    async def get(self, path: str, token: str | None = OPERATE, status: int = 200) -> str:
        async with self.session.get(self.base + path, headers=basic(token) if token else {}) as answer:
            assert answer.status == status, await answer.text()
            self.headers = answer.headers
            return await answer.text()

    async def send(self, path: str, fields: dict, token: str = OPERATE, **headers: str) -> tuple[int, str, str]:
        """Status, where it leads, and the page."""
        async with self.session.post(
            self.base + path,
            data=fields,
            headers={**basic(token), "Origin": self.base, "Sec-Fetch-Site": "same-origin", **headers},
            allow_redirects=False,
        ) as answer:
            return answer.status, answer.headers.get("Location", ""), await answer.text()

    async def form_token(self, token: str = OPERATE) -> str:
        page = await self.get("/pipelines/events/backfill?from=2025-11-15T00:00&to=2025-11-15T01:00", token)
        return fields_of(page)["form_token"]

    @property
    def drive(self):
        return self.daemon.pipelines["events"].attendant.worker.drive


def fields_of(page: str) -> dict[str, str]:
    """The hidden fields of a page."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


@asynccontextmanager
async def browsing(root, monkeypatch, runs: int = 2) -> AsyncIterator[Browser]:
    monkeypatch.setenv("READ_TOKEN", READ)
    monkeypatch.setenv("OPERATE_TOKEN", OPERATE)
    admin = {"port": 0, "read_tokens": [{"env": "READ_TOKEN"}], "operate_tokens": [{"env": "OPERATE_TOKEN"}]}
    pulse = Pulse(lambda _lag: None, 30)
    async with (
        serving(root, admin=admin, health={"host": "127.0.0.1", "port": 0}) as (daemon, heard, _task),
        opened_ports(daemon, pulse, lambda _accept: (b"", "text/plain")) as (_health, port),
        aiohttp.ClientSession() as session,
    ):
        await heard.until(finished(runs))
        browser = Browser(session, port, daemon)
        browser.heard = heard
        yield browser


def test_overview_pipeline_and_run_are_shown_and_lead_to_each_other(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            overview = await browser.get("/")
            assert "the last 2 windows: 2 loaded" in overview
            assert '<time datetime="2025-11-15T02:00Z">' in overview  # as it is now, not at the last look
            assert ">up to date<" in overview
            assert ">well</span>" in overview
            assert 'href="/pipelines/events"' in overview
            pipeline = await browser.get("/pipelines/events")
            [first, second] = re.findall(r'class="c loaded l\d" href="([^"]+)" title="([^"]+)"', pipeline)
            assert second[1].startswith("2025-11-15T01:00Z to 2025-11-15T02:00Z, loaded, 60 rows, ")
            assert second[1].endswith("proof PASSED")
            assert "every closed window of this map is loaded" in pipeline
            run = await browser.get(first[0])
            assert re.findall(r'class="count">([^<]+)<', run) == ["60"] * 10
            assert "The rows are in the target, once; its receipt says so." in run
            assert "snapped" not in run

    asyncio.run(go())


def test_windows_that_the_source_holds_back_are_not_missing_m2(tmp_path, monkeypatch):
    """The second hour is over by the source's clock, but not yet surely all there."""
    enrol(tmp_path, world(tmp_path, "events"))

    async def readable_until(_self, _now):
        return START + HOUR

    monkeypatch.setattr(FilesConnector, "readable_until", readable_until)

    async def go():
        async with browsing(tmp_path, monkeypatch, runs=1) as browser:
            pipeline = await browser.get("/pipelines/events")
            assert "every closed window of this map is loaded" in pipeline
            assert len(re.findall(r'class="c loaded l\d" href', pipeline)) == 1
            span = "from=2025-11-15T00:00:00Z&to=2025-11-15T02:00:00Z"
            told = json.loads(await browser.get(f"/v1/pipelines/events/windows?{span}"))
            assert ([one["fate"] for one in told["windows"]], told["gaps"]) == (["loaded"], [])

    asyncio.run(go())


def test_a_failure_is_shown_with_cause_and_advice_and_nothing_that_a_source_says_is_markup(tmp_path, monkeypatch):
    one = world(tmp_path, "events", limits={"attempts_per_error_class": 1})
    enrol(tmp_path, one)

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            run = await broken(browser.drive)
            browser.daemon.pipelines["events"].attendant.know([run])
            for path in ("/", "/pipelines/events", f"/pipelines/events/runs/{run.name}"):
                page = await browser.get(path)
                assert SCRIPT not in page
                assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
                assert ">quarantined</span>" in page
            assert 'class="broken"' in page
            assert "must equal 60" in page
            assert "do not rely on this window yet" in page
            assert "Look at it." in page
            for path in (f"/pipelines/{SCRIPT}", f"/?name={SCRIPT}", f"/pipelines/events/runs/{SCRIPT}"):
                answer = await browser.session.get(browser.base + path, headers=basic(OPERATE))
                assert SCRIPT not in await answer.text()

    asyncio.run(go())


async def broken(drive):
    """The second run as an audit leaves it that found two rows gone, in a source that speaks HTML."""
    run = (await drive.runs("events"))[1]
    audit = run.phases[Phase.AUDIT]
    proof = [dict(link) for link in audit.figures["proof"]]
    proof[-1]["count"] -= 2
    figures = {**audit.figures, "proof": proof, "broken_link": "target_rows", "validation_status": "FAILED"}
    failure = Failure(Phase.AUDIT, "audit_mismatch", "target_rows", SCRIPT, "Look at it.", audit.finished_at)
    phases = {**run.phases, Phase.AUDIT: msgspec.structs.replace(audit, figures=figures)}
    changed = msgspec.structs.replace(
        run, phases=phases, status=RunStatus.FAILED, failure=failure, quarantined_at=run.updated_at
    )
    return await drive._write("test", lambda rows: rows.put(changed))


def test_a_read_token_sees_no_form_and_cannot_send_one_x1(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            for path in ("/", "/pipelines/events"):
                assert 'method="post"' in await browser.get(path)
                page = await browser.get(path, READ)
                assert 'method="post"' not in page
                assert "form_token" not in page
            await browser.get("/pipelines/events/backfill?from=2025-11-15&to=2025-11-16", READ, status=403)
            # a token of the form is of its holder
            status, _, page = await browser.send(
                f"{FORM}pause", {"form_token": await browser.form_token()}, token=READ
            )
            assert status == 403
            assert "not from this page" in page
            assert not browser.daemon.pipelines["events"].attendant.paused

    asyncio.run(go())


def test_a_form_of_another_site_changes_nothing(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            ours = {"form_token": await browser.form_token()}
            sent = [({}, {}), ({"form_token": "0" * 64}, {})]
            sent += [(ours, {"Sec-Fetch-Site": site}) for site in ("cross-site", "same-site")]
            for fields, headers in sent:
                status, leads, page = await browser.send(f"{FORM}pause", fields, **headers)
                assert (status, leads) == (403, "")
                assert "<h1>the " in page
            assert not browser.daemon.pipelines["events"].attendant.paused

    asyncio.run(go())


def test_without_sec_fetch_site_the_origin_tells_whose_page_a_form_is_from(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            fields = {"form_token": await browser.form_token()}
            for origin, expected in (("http://evil.example", 403), ("null", 403), (browser.base, 303)):
                headers = {**basic(OPERATE), "Origin": origin}
                async with browser.session.post(
                    f"{browser.base}{FORM}pause", data=fields, headers=headers, allow_redirects=False
                ) as answer:
                    assert answer.status == expected, origin

    asyncio.run(go())


def test_with_the_password_of_a_browser_only_json_and_forms_are_taken(tmp_path, monkeypatch):
    """A page of another site can send a body of any other kind, or none, with the password that is remembered."""
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            headers, url = basic(OPERATE), f"{browser.base}{FORM}pause"
            multipart = aiohttp.FormData({"form_token": await browser.form_token()}, default_to_multipart=True)
            for body in (None, b"{}", multipart):
                async with browser.session.post(url, data=body, headers=headers) as answer:
                    assert answer.status == 403
                    assert (await answer.json())["code"] == "form"
            async with browser.session.post(url, json={}, headers=headers) as answer:
                assert answer.status == 200
            bearer = {"Authorization": f"Bearer {OPERATE}"}
            async with browser.session.post(f"{browser.base}{FORM}resume", headers=bearer) as answer:
                assert answer.status == 200

    asyncio.run(go())


def test_pause_resume_and_a_backfill_are_done_by_forms_and_written_down(tmp_path, monkeypatch):
    one = world(tmp_path, "events")
    enrol(tmp_path, one)

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            form = {"form_token": await browser.form_token()}
            assert (await browser.send(f"{FORM}pause", form))[:2] == (303, "/pipelines/events")
            page = await browser.get("/pipelines/events")
            assert ">paused</span>" in page
            assert ">Resume</button>" in page
            plan = await browser.get("/pipelines/events/backfill?from=2025-11-15T00:00&to=2025-11-15T01:30")
            assert "Load 2 windows again?" in plan
            assert "only that piece of it is loaded" in plan
            status, progress, _ = await browser.send(f"{FORM}backfills", fields_of(plan))
            assert (status, progress) == (303, f"/pipelines/events/backfills/{fields_of(plan)['idempotency_key']}")
            assert "0 of 2 runs" in await browser.get(progress)
            assert (await browser.send(f"{FORM}backfills", fields_of(plan)))[1] == progress
            status, _, page = await browser.send(f"{FORM}backfills", fields_of(plan) | {"idempotency_key": "k"})
            assert (status, "unfinished runs overlap" in page) == (409, True)
            assert (await browser.send(f"{FORM}resume", form))[0] == 303
            await browser.heard.until(finished(4))
            page = await browser.get(progress)
            assert "2 of 2 runs" in page
            assert "data-live" not in page
            page = await browser.get("/pipelines/events")
            acts = re.findall(r"<strong>(\w+)</strong> (\w+)", page)
            assert acts == [("OPERATE_TOKEN", act) for act in ("resume", "backfill", "pause")]

    asyncio.run(go())
    assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]


def test_a_backfill_is_cancelled_by_a_form_and_no_other_post_is_taken_there(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            await browser.send(f"{FORM}pause", {"form_token": await browser.form_token()})
            plan = await browser.get("/pipelines/events/backfill?from=2025-11-15T00:00&to=2025-11-15T02:00")
            _, progress, _ = await browser.send(f"{FORM}backfills", fields_of(plan))
            cancel = fields_of(await browser.get(progress))
            assert cancel["method"] == "DELETE"
            async with browser.session.post(
                f"{browser.base}/v1{progress}", json={}, headers={"Authorization": f"Bearer {OPERATE}"}
            ) as answer:
                assert answer.status == 405
                assert answer.headers["Allow"] == "DELETE,GET"
            assert (await browser.send(f"/v1{progress}", cancel))[:2] == (303, progress)
            assert "2 of 2 runs" in await browser.get(progress)
            statuses = {run.status for run in await browser.drive.runs("events") if run.id.number == 2}
            assert statuses == {RunStatus.SKIPPED}

    asyncio.run(go())


def test_a_failed_run_is_retried_by_a_form_and_leads_to_the_run_that_goes_on(tmp_path, monkeypatch):
    one = world(tmp_path, "events")
    enrol(tmp_path, one)

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            run = await broken(browser.drive)
            page = await browser.get(f"/pipelines/events/runs/{run.name}")
            assert '<option value="pre_validation">' in page
            fields = {**fields_of(page), "from_phase": ""}
            status, leads, _ = await browser.send(f"{FORM}runs/{run.name}/retry", fields)
            assert (status, leads) == (303, f"/pipelines/events/runs/{run.name[:-1]}2")
            await browser.heard.until(finished(3))
            assert "The rows are in the target, once" in await browser.get(leads)

    asyncio.run(go())


def test_who_has_no_token_is_asked_for_one_as_browsers_understand_and_is_no_guesser_yet(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            for _ in range(20):
                page = await browser.get("/", token=None, status=401)
            assert browser.headers["WWW-Authenticate"].startswith("Basic ")
            assert "a valid token is needed" in page
            assert "events" not in page
            await browser.get("/")
            for _ in range(20):
                async with browser.session.get(browser.base, headers=basic("guess")) as answer:
                    status = answer.status
            assert status == 429

    asyncio.run(go())


def test_pages_may_not_be_framed_cached_or_given_scripts_and_styles_of_others(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            pages = {"/": 200, "/pipelines/events": 200, "/pipelines/nobody": 404, "/nowhere": 404}
            for path, status in pages.items():
                page = await browser.get(path, status=status)
                policy = browser.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; ")
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert browser.headers["X-Content-Type-Options"] == "nosniff"
                assert browser.headers["Cache-Control"] == "no-store"
                assert not re.search(r"<style|style=|\son\w+=|<script(?! src=)", page)
                assert OPERATE not in page
                for asset in re.findall(r'(?:src|href)="(/assets/[^"]+)"', page):
                    await browser.get(asset)
                    assert "immutable" in browser.headers["Cache-Control"]

    asyncio.run(go())


def test_files_that_cannot_be_used_and_an_empty_folder_say_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "bad.yaml").write_text(
        "config_version: 1\npipeline_metadata: {pipeline_name: '<i>'}\n"
    )

    async def go():
        async with browsing(tmp_path, monkeypatch, runs=0) as browser:
            await browser.heard.until(lambda heard: heard.of(ConfigRefused))
            page = await browser.get("/")
            assert "1 file of the configuration cannot be used" in page
            assert "source_system is missing. <strong>Add it." in page
            assert "<i>" not in page
            assert "No pipeline yet" in page

    asyncio.run(go())


def test_a_drive_table_that_cannot_be_read_is_told_beside_what_is_known(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:

            async def unreachable(*_args, **_options):
                raise TransientError("the server is away", hint="Start it.", code="unreachable")

            for read in ("runs", "summaries"):
                monkeypatch.setattr(browser.drive, read, unreachable)
            page = await browser.get("/pipelines/events")
            assert "The drive table cannot be read: the server is away" in page
            assert "Start it." in page
            assert "2025-11-15T02:00Z" in page  # loaded until: from memory
            page = await browser.get("/pipelines/events/runs/events_20251115_00h_run1", status=503)
            assert "the server is away" in page
            assert "the last 2 windows: 2 loaded" in await browser.get("/")

    asyncio.run(go())


def test_a_pipeline_that_cannot_be_opened_says_why(tmp_path, monkeypatch):
    one = world(tmp_path, "events")
    enrol(tmp_path, one)
    (one.root / "drive.sqlite").unlink()

    async def go():
        async with browsing(tmp_path, monkeypatch, runs=0) as browser:
            await browser.heard.until(lambda heard: heard.of(LookFailed))
            for path in ("/", "/pipelines/events"):
                page = await browser.get(path)
                assert ">failing</span>" in page
                assert "drive.sqlite" in page
            assert "drive init" in page

    asyncio.run(go())


def test_windows_that_are_not_closed_yet_are_told_with_when_they_will_be(tmp_path, monkeypatch):
    windows = {"start": "2100-01-01T00:00:00Z", "end": None}
    enrol(tmp_path, world(tmp_path, "events", windows=windows))

    async def go():
        async with browsing(tmp_path, monkeypatch, runs=0) as browser:
            await browser.heard.until(lambda heard: heard.of(Looked))
            page = await browser.get("/pipelines/events")
            assert "No window is closed yet" in page
            assert "2100-01-01T01:00Z" in page
            assert "no window is closed yet" in await browser.get("/")

    asyncio.run(go())


def test_a_backfill_that_cannot_be_planned_is_told_with_what_can(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))
    wishes = {
        "from=yesterday&to=2025-11-16": "is no instant",
        "": "is no instant",
        "from=2025-11-16&to=2025-11-15": "Give a to that is after from.",
        "from=2025-11-15&to=2099-01-01": "is not closed yet",
        "from=2020-11-15&to=2020-11-16": "Windows begin at",
    }

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            for query, said in wishes.items():
                assert said in await browser.get(f"/pipelines/events/backfill?{query}", status=422)

    asyncio.run(go())


INDEX = "sqlite_autoindex_pipeline_execution_drive_1"
"""Of the primary key: pipeline, start, end, number."""


def test_each_view_asks_for_runs_once_by_an_index_and_only_that_of_one_run_reads_a_manifest(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with browsing(tmp_path, monkeypatch) as browser:
            [run, _] = await browser.drive.runs("events")
            said = listened(browser.drive, monkeypatch)
            for path, asked in {
                "/": [],
                "/pipelines/events": [INDEX, "events_by_pipeline"],
                f"/pipelines/events/runs/{run.name}": ["runs_by_id, USE TEMP B-TREE FOR ORDER BY", ""],
                "/v1/pipelines/events/windows": [INDEX],
                "/v1/pipelines/events/runs": [INDEX],
            }.items():
                said.clear()
                await browser.get(path)
                assert [index_of(browser.drive, query) for query in said] == asked, path
                wide = [query for query in said if "manifest" in query or "* FROM pipeline_execution" in query]
                assert len(wide) == path.count("/runs/"), path

    asyncio.run(go())


def listened(drive, monkeypatch) -> list[str]:
    """The queries of reads of `drive` from now on."""
    said, read, connection = list[str](), drive._read, drive._connection

    async def heard(step):
        def traced(rows):
            connection.set_trace_callback(said.append)
            try:
                return step(rows)
            finally:
                connection.set_trace_callback(None)

        return await read(traced)

    monkeypatch.setattr(drive, "_read", heard)
    return said


def index_of(drive, query: str) -> str:
    """The index by which SQLite finds the rows of a query, and what else it does for it."""
    with closing(sqlite3.connect(drive._path)) as sql:
        plan = [line[3] for line in sql.execute(f"EXPLAIN QUERY PLAN {query}")]
    steps = [re.sub(r"SEARCH \w+ USING INDEX (\w+) .*", r"\1", step) for step in plan]
    return ", ".join(step for step in steps if step != "SCAN CONSTANT ROW")


@pytest.mark.parametrize(("drive", "seconds"), [("sqlite", 5), ("mysql", 5), ("snowflake", 0)])
def test_an_open_page_asks_again_by_itself_but_never_keeps_a_warehouse_awake(drive, seconds):
    config = SimpleNamespace(drive_table=SimpleNamespace(type=drive))
    attendant = SimpleNamespace(worker=SimpleNamespace(config=config))
    assert pace(attendant)["often"] == seconds
