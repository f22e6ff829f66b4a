"""What `/v1` changes: nothing before it is written down, backfills beside the schedule, replays, cancellation."""

from __future__ import annotations

import asyncio
import sqlite3

from service.daemon.actions import Actions, By
from service.events import AdminActed, PhaseStarted, PipelineAdded, RunFailed, RunFinished
from state.model import Phase, Window
from state.sqlite import SqliteDrive
from tests.integration.test_admin_api import api
from tests.lifecycle.test_daemon import enrol, finished, serving, world, write
from tests.lifecycle.world import HOUR, START, World, at_start_of, events, merged

P = "/v1/pipelines/events"
SPAN = {"from": START.isoformat(), "to": (START + HOUR).isoformat(), "dry_run": False}
BOTH = {**SPAN, "to": (START + 2 * HOUR).isoformat()}


def execute(one: World, *statements: str) -> list[tuple]:
    """Behind the daemon's back, in the drive table."""
    connection = sqlite3.connect(one.root / "drive.sqlite", timeout=30)
    try:
        return [row for sql in statements for row in connection.execute(sql).fetchall()]
    finally:
        connection.commit()
        connection.close()


def test_an_act_that_cannot_be_written_down_is_not_done_x3(tmp_path, monkeypatch):
    one = world(tmp_path, "events")
    enrol(tmp_path, one)
    spoilt = at_start_of(
        Phase.AUDIT, lambda: one.execute("DELETE FROM events WHERE id = (SELECT min(id) FROM events)")
    )

    async def go():
        async with api(tmp_path, monkeypatch, also=spoilt, wait=failed_and_finished) as (ask, heard):
            [told] = heard.of(RunFailed)
            await ask("POST", f"{P}/pause")
            later = {"from": (START + HOUR).isoformat(), "to": BOTH["to"], "dry_run": False}
            assert (await ask("POST", f"{P}/backfills", later, key="begun"))[0] == 200
            before = (await ask("GET", f"{P}/runs"))[1]
            execute(one, "ALTER TABLE pipeline_events RENAME TO away")
            try:
                for method, path, body in (
                    ("POST", f"{P}/resume", None),
                    ("POST", f"{P}/runs/{told.run.name}/retry", {}),
                    ("POST", f"{P}/backfills", SPAN),
                    ("DELETE", f"{P}/backfills/begun", None),
                ):
                    status, answer, _ = await ask(method, path, body, key="k")
                    assert (status, path) == (503, path), answer
            finally:
                execute(one, "ALTER TABLE away RENAME TO pipeline_events")
            assert (await ask("GET", f"{P}/runs"))[1] == before
            assert (await ask("GET", P))[1]["paused"]
            results = [(e.action, e.result) for e in heard.of(AdminActed)]
            assert [result for _, result in results[:2]] == ["done", "done"]
            assert all(result.startswith(("failed", "refused")) for _, result in results[2:])
            assert {action for action, _ in results[2:]} >= {"resume", "retry", "cancel"}

    asyncio.run(go())


def failed_and_finished(heard):
    return heard.of(RunFailed) and heard.of(RunFinished)


def test_each_act_is_in_the_drive_table_with_who_asked_and_the_request_x3(tmp_path, monkeypatch):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, heard):
            asked = []
            for method, path, body in (
                ("POST", f"{P}/pause", None),
                ("POST", f"{P}/backfills", SPAN),
                ("DELETE", f"{P}/backfills/k", None),
                ("POST", f"{P}/resume", None),
            ):
                status, _, headers = await ask(method, path, body, key="k")
                assert status == 200
                asked.append(headers["X-Request-Id"])
            _, told, _ = await ask("GET", f"{P}/events")
            acts = [act for act in told["events"][::-1] if act["actor"] == "operate"]
            actions = ("pause", "backfill", "cancel", "resume")
            assert [(a["action"], a["details"]["request_id"]) for a in acts] == list(
                zip(actions, asked, strict=True)
            )
            status, _, headers = await ask("POST", "/v1/reload")
            last = heard.of(AdminActed)[-1]
            assert (status, last.action, last.request_id) == (200, "reload", headers["X-Request-Id"])

    asyncio.run(go())


def test_a_backfill_beside_the_schedule_loads_nothing_twice_and_leaves_newer_rows(tmp_path, monkeypatch):
    """The target has newer versions of some rows of the span; new windows are opened meanwhile."""
    one = world(tmp_path, "events")
    enrol(tmp_path, one)
    newer = merged(one.settings, {"windows": {"end": (START + 4 * HOUR).isoformat()}})

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, heard):
            one.execute("UPDATE events SET version = 9, value = -1 WHERE id LIKE '%-00000_'")
            one.write("h3", events(60, START + 3 * HOUR))
            assert (await ask("POST", f"{P}/backfills", BOTH, key="k"))[0] == 200
            write(tmp_path, World(one.root, newer))
            assert (await ask("POST", "/v1/reload"))[1] == {"begun": ["events"], "ended": [], "refused": []}
            seen = set()

            async def progress():
                while (view := (await ask("GET", f"{P}/backfills/k"))[1]).get("done") != 2:
                    seen.add(view.get("done"))
                    await asyncio.sleep(0.01)
                return view

            view = await asyncio.wait_for(progress(), 60)
            assert [run["status"] for run in view["runs"]] == ["COMPLETED"] * 2
            assert seen - {None} <= {0, 1}
            await heard.until(finished(6))

    asyncio.run(go())
    assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(240, 240)]
    assert one.query("SELECT count(*) FROM events WHERE version = 9 AND value = -1") == [(20,)]


def test_a_replay_gives_the_same_backfill_after_a_restart_and_from_a_second_daemon(tmp_path, monkeypatch):
    one = world(tmp_path, "events")
    enrol(tmp_path, one)

    async def begin():
        async with api(tmp_path, monkeypatch) as (ask, heard):
            _, begun, _ = await ask("POST", f"{P}/backfills", SPAN, key="k")
            await heard.until(finished(3))
            return [run["name"] for run in begun["runs"]]

    async def again(names):
        async with api(tmp_path, monkeypatch, wait=lambda heard: heard.of(PipelineAdded)) as (ask, heard):
            async with serving(tmp_path / "elsewhere") as (second, others, _task):
                await others.until(lambda all_: second.pipelines and second.pipelines["events"].is_well)
                span = Window(START, START + HOUR)
                there = await Actions(second, 10).backfill("events", span, "k", By("b", "2"), dry_run=False)
                assert [run.name for run in there.runs] == names
            status, here, _ = await ask("POST", f"{P}/backfills", SPAN, key="k")
            assert (status, [run["name"] for run in here["runs"]]) == (200, names)
            status, told, _ = await ask("POST", f"{P}/backfills", BOTH, key="k")
            assert (status, told["code"]) == (409, "key")
            assert not heard.of(RunFinished)

    elsewhere = merged(one.settings, {"limits": {"spool_directory": f"{tmp_path}/elsewhere/spool"}})
    (tmp_path / "elsewhere" / "configs").mkdir(parents=True)
    write(tmp_path / "elsewhere", World(one.root, elsewhere))
    asyncio.run(again(asyncio.run(begin())))
    assert len(one.receipts()) == 3


def test_a_record_without_runs_is_done_by_the_next_with_its_key_and_owns_nobody_elses(tmp_path, monkeypatch):
    """As after a crash between the record and its effect: another backfill of the span came between."""
    one = world(tmp_path, "events")
    enrol(tmp_path, one)

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, heard):
            with monkeypatch.context() as crash:
                crash.setattr(SqliteDrive, "create", no_create)
                assert (await ask("POST", f"{P}/backfills", SPAN, key="lost"))[0] == 500
            _, view, _ = await ask("GET", f"{P}/backfills/lost")
            assert (view["runs"], len(view["windows"])) == ([], 1)
            _, other, _ = await ask("POST", f"{P}/backfills", BOTH, key="other")
            await heard.until(finished(4))
            assert (await ask("GET", f"{P}/backfills/lost"))[1]["runs"] == []
            _, begun, _ = await ask("POST", f"{P}/backfills", SPAN, key="lost")
            assert [run["number"] for run in begun["runs"]] == [3]
            await heard.until(finished(5))
            assert [run["number"] for run in (await ask("GET", f"{P}/backfills/other"))[1]["runs"]] == [2, 2]
            assert (await ask("GET", f"{P}/backfills/lost"))[1]["done"] == 1
            assert len(other["runs"]) == 2

    asyncio.run(go())
    assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]


async def no_create(*_of):
    raise RuntimeError("the process ends here")


def test_cancelling_while_a_run_of_it_is_under_way_lets_that_one_end_and_skips_the_others(tmp_path, monkeypatch):
    one = world(tmp_path, "events")
    enrol(tmp_path, one)

    async def go():
        async with api(tmp_path, monkeypatch) as (ask, heard):
            del heard[:]
            await ask("POST", f"{P}/backfills", BOTH, key="k")
            await heard.until(lambda all_: all_.of(PhaseStarted))
            status, _, _ = await ask("DELETE", f"{P}/backfills/k")
            assert status == 200
            await heard.until(finished(1))
            _, over, _ = await ask("GET", f"{P}/backfills/k")
            assert sorted(run["status"] for run in over["runs"]) == ["COMPLETED", "SKIPPED"]
            assert (await ask("DELETE", f"{P}/backfills/k"))[0] == 200  # again: nothing is left to skip

    asyncio.run(go())
    assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]
    assert len(one.receipts()) == 3
