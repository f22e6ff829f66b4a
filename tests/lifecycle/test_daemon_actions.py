"""What an operator does to a running daemon: pause, retry, backfill, cancel; each is written down first (X-3)."""

from __future__ import annotations

import asyncio

import pytest

from service.app import drive_of
from service.daemon.actions import Actions, By, Refused
from service.daemon.attendant import Attendant
from service.events import AdminActed, Emit, Looked, PhaseStarted, RunFailed
from state.drive import Event
from state.model import Phase, RunKind, RunStatus, Window
from tests.lifecycle.test_daemon import enrol, finished, serving, world, write
from tests.lifecycle.world import HOUR, START, World, at_start_of, merged

BY = By("anna", "r1")
FIRST, BOTH = Window(START, START + HOUR), Window(START, START + 2 * HOUR)


def test_a_backfill_is_planned_done_once_and_told_with_its_progress_x2(tmp_path):
    one = world(tmp_path, "events")
    enrol(tmp_path, one)

    async def go():
        async with serving(tmp_path) as (daemon, heard, _task):
            await heard.until(finished(2))
            actions = Actions(daemon, 100)
            plan = await actions.backfill("events", BOTH, "k1", BY, dry_run=True)
            assert (len(plan.windows), plan.runs) == (2, ())
            begun = await actions.backfill("events", BOTH, "k1", BY, dry_run=False)
            again = await actions.backfill("events", BOTH, "k1", BY, dry_run=False)
            assert [run.id for run in again.runs] == [run.id for run in begun.runs]
            with pytest.raises(Refused) as other:
                await actions.backfill("events", FIRST, "k1", BY, dry_run=False)
            assert (other.value.status, other.value.code) == (409, "key")
            await heard.until(finished(4))
            done = await actions.progress("events", "k1")
            assert done.done == 2
            assert {(run.kind, run.status, run.id.number) for run in done.runs} == {
                (RunKind.BACKFILL, RunStatus.COMPLETED, 2)
            }
            [told] = heard.of(AdminActed)
            assert (told.actor, told.action, told.subject) == ("anna", "backfill", "k1")
            recorded = await daemon.pipelines["events"].attendant.worker.drive.events("events")
            assert [(e.actor, e.action, e.subject) for e in recorded if e.action == "backfill"] == [
                ("anna", "backfill", "k1")
            ]

    asyncio.run(go())
    assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]


def test_what_cannot_be_backfilled_is_refused_with_the_reason_x2(tmp_path):
    enrol(tmp_path, world(tmp_path, "events"))

    async def go():
        async with serving(tmp_path) as (daemon, heard, _task):
            await heard.until(finished(2))
            actions = Actions(daemon, 1)
            for span, status, code in (
                (Window(START, START + 3 * HOUR), 422, "not_closed"),
                (Window(START - 2 * HOUR, START - HOUR), 422, "no_window"),
                (BOTH, 422, "too_many"),
            ):
                with pytest.raises(Refused) as refused:
                    await actions.backfill("events", span, "k", BY, dry_run=True)
                assert (refused.value.status, refused.value.code) == (status, code)
            with pytest.raises(Refused) as unknown:
                await actions.backfill("orders", FIRST, "k", BY, dry_run=True)
            assert unknown.value.status == 404
            with pytest.raises(Refused) as nothing:
                await actions.progress("events", "k")
            assert nothing.value.status == 404

    asyncio.run(go())


def test_a_paused_pipeline_claims_nothing_until_it_is_resumed_over_a_restart(tmp_path):
    one = world(tmp_path, "events")
    enrol(tmp_path, one)

    async def paused():
        async with serving(tmp_path) as (daemon, heard, _task):
            await heard.until(finished(2))
            actions = Actions(daemon, 100)
            await actions.pause("events", BY)
            await actions.backfill("events", FIRST, "k", BY, dry_run=False)

    async def resumed():
        async with serving(tmp_path) as (daemon, heard, _task):
            actions = Actions(daemon, 100)
            await heard.until(lambda all_: all_.of(Looked))
            assert daemon.pipelines["events"].attendant.paused
            waiting = await actions.progress("events", "k")
            assert [run.status for run in waiting.runs] == [RunStatus.PENDING]
            assert not heard.of(PhaseStarted)
            await actions.resume("events", BY)
            await heard.until(finished(1))
            assert (await actions.progress("events", "k")).done == 1

    asyncio.run(paused())
    asyncio.run(resumed())


def test_a_pause_that_one_daemon_is_told_of_is_known_to_another_at_its_next_look_k1(tmp_path, monkeypatch):
    """Where machines share a drive table that is asked at each look."""
    monkeypatch.setattr(Attendant, "_is_shared", True)
    one = world(tmp_path, "events")
    enrol(tmp_path, one)
    elsewhere = merged(one.settings, {"limits": {"spool_directory": f"{tmp_path}/elsewhere/spool"}})
    (tmp_path / "elsewhere" / "configs").mkdir(parents=True)
    write(tmp_path / "elsewhere", World(one.root, elsewhere))

    async def go():
        async with (
            serving(tmp_path) as (daemon, heard, _task),
            serving(tmp_path / "elsewhere") as (other, others, _other_task),
        ):
            await heard.until(lambda all_: all_.of(Looked))
            await others.until(lambda all_: all_.of(Looked))
            there = other.pipelines["events"].attendant
            for act, paused in ((Actions(daemon, 100).pause, True), (Actions(daemon, 100).resume, False)):
                await act("events", BY)
                there.tick()
                await others.until(lambda _all, paused=paused: there.paused == paused)

    asyncio.run(go())


def test_a_cancelled_backfill_skips_what_nobody_has_begun_and_leaves_the_rows(tmp_path):
    one = world(tmp_path, "events")
    enrol(tmp_path, one)

    async def go():
        async with serving(tmp_path) as (daemon, heard, _task):
            await heard.until(finished(2))
            actions = Actions(daemon, 100)
            await actions.pause("events", BY)
            await actions.backfill("events", BOTH, "k", BY, dry_run=False)
            over = await actions.cancel("events", "k", BY)
            assert [run.status for run in over.runs] == [RunStatus.SKIPPED] * 2
            await actions.resume("events", BY)
            again = await actions.backfill("events", BOTH, "k2", BY, dry_run=False)
            assert [run.id.number for run in again.runs] == [3, 3]
            await heard.until(finished(4))

    asyncio.run(go())
    assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]


def spoiling(one: World) -> Emit:
    """Takes a row away before each audit, so that a count does not hold."""
    taken = "DELETE FROM events WHERE id = (SELECT min(id) FROM events)"
    return at_start_of(Phase.AUDIT, lambda: one.execute(taken))


def test_a_run_that_a_command_beside_the_daemon_let_go_on_hinders_no_window_any_more(tmp_path):
    one = world(tmp_path, "events", limits={"catch_up_windows": 1})
    enrol(tmp_path, one)

    async def go():
        async with serving(tmp_path, also=spoiling(one)) as (daemon, heard, _task):
            [failed] = await heard.until(lambda all_: all_.of(RunFailed))
            attendant = daemon.pipelines["events"].attendant
            while not attendant.standing.quarantined:  # noqa: ASYNC110 - it is told before it is known
                await asyncio.sleep(0.01)
            async with drive_of(one.config) as drive:
                act = Event(await drive.now(), "ann", "retry", "events", failed.run.name, {})
                await drive.reopen(failed.run.id, from_phase=None, run_floor=0, event=act)
            attendant.tick()
            await heard.until(finished(2), 30)

    async def afterwards():
        """Nor does the run that another was made in place of, after a restart."""
        async with serving(tmp_path) as (daemon, heard, _task):
            [looked, *_] = await heard.until(lambda all_: all_.of(Looked))
            assert (looked.unfinished, looked.oldest_open) == (0, None)
            plan = await Actions(daemon, 100).backfill("events", BOTH, "k", BY, dry_run=True)
            assert plan.windows

    asyncio.run(go())
    asyncio.run(afterwards())
    assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(120, 120)]


def test_a_quarantined_run_goes_on_when_it_is_retried(tmp_path):
    one = world(tmp_path, "events", windows={"end": (START + HOUR).isoformat()})
    enrol(tmp_path, one)

    async def go():
        async with serving(tmp_path, also=spoiling(one)) as (daemon, heard, _task):
            [failed] = await heard.until(lambda all_: all_.of(RunFailed))
            assert failed.run.quarantined_at is not None
            again = await Actions(daemon, 100).retry("events", failed.run.name, None, BY)
            assert again.id.number == 2
            await heard.until(finished(1))

    asyncio.run(go())
    assert one.query("SELECT count(*), count(DISTINCT id) FROM events") == [(60, 60)]
