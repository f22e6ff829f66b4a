"""A daemon with a pipeline that loads its table whole: one run for all that was missed, and no old window."""

from __future__ import annotations

import asyncio

import pytest

from service.daemon.actions import Actions, By, Refused
from service.events import Looked
from tests.lifecycle.test_daemon import enrol, finished, serving, write
from tests.lifecycle.test_snapshot_mode import COUNTRIES, fill, held, hour, world

CHANGED = {"at": "Österreich"}


def test_what_was_missed_is_one_run_and_only_the_newest_window_is_loaded_again(tmp_path):
    there = world(tmp_path / "countries", 400)
    fill(there, COUNTRIES)
    enrol(tmp_path, there)
    later = world(tmp_path / "countries", 402)

    async def go():
        async with serving(tmp_path) as (daemon, heard, _task):
            await heard.until(finished(1))
            acts, by = Actions(daemon, 100), By("me", "r1")
            with pytest.raises(Refused) as refused:
                await acts.backfill("events", hour(3), "again", by, dry_run=False)
            assert (refused.value.status, refused.value.code) == (422, "not_newest")
            fill(there, CHANGED | {"be": "Belgium"})
            await acts.backfill("events", hour(399), "again", by, dry_run=False)
            await heard.until(finished(2))
            write(tmp_path, later)
            await daemon.reload()
            await heard.until(finished(3))
            assert heard.of(Looked)[0].loaded_until is None

    asyncio.run(go())
    assert [(run.window, run.id.number) for run in later.runs()] == [
        (hour(399), 1),
        (hour(399), 2),
        (hour(401), 1),
    ]
    assert held(later) == CHANGED | {"be": "Belgium"}
