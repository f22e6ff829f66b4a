"""Mode snapshot: each run replaces the target by the whole source as it is then, proven link by link."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from service.app import drive_of
from service.config import parse_config
from service.daemon.standing import Standing
from service.ledger import Fate, ledger
from service.newest import require_newest
from service.problems import InvalidConfig
from service.report import advice
from service.tick import new_runs
from state.drive import Event
from state.errors import ConfigurationError
from state.model import Phase, Run, RunId, RunKind, RunStatus, Window
from tests.lifecycle.world import HOUR, START, World, defaults, merged

COUNTRIES = {"at": "Austria", "be": "Belgium", "ch": "Switzerland"}
NOW = datetime.now(UTC)


def world(root: Path, hours: int = 3, **more: Any) -> World:
    """`hours` windows are closed; the source has no cursor, and the target no key if `more` names none."""
    return World(
        root,
        merged(
            {
                "windows": {"end": (START + hours * HOUR).isoformat()},
                "source_system": {"cursor": None, "key": []},
                "target_system": {"mode": "snapshot", "key": [], "version": "read_at", "table": "countries"},
            },
            more,
        ),
    )


def fill(there: World, countries: Mapping[str, str], *twice: str) -> None:
    """The whole source: these rows, and a second one for each of `twice`."""
    rows = [*countries.items(), *((code, "again") for code in twice)]
    columns = [pa.array([row[place] for row in rows], pa.string()) for place in (0, 1)]
    there.write("countries", pa.table(columns, names=["code", "name"]))


def held(there: World) -> dict[str, str]:
    """What the target holds; AssertionError if a row is there twice."""
    rows = there.query("SELECT code, name FROM countries")
    found = dict(rows)
    assert len(found) == len(rows)
    return found


def hour(number: int) -> Window:
    return Window(START + number * HOUR, START + (number + 1) * HOUR)


def reopened(there: World, run: Run) -> None:
    """What `sluiceway retry` does."""

    async def again() -> None:
        async with drive_of(there.config) as drive:
            event = Event(await drive.now(), "me", "retry", run.id.pipeline, run.name, {})
            await drive.reopen(run.id, from_phase=None, run_floor=0, event=event)

    asyncio.run(again())


def test_the_newest_window_alone_is_loaded_and_replaces_everything(tmp_path):
    """Deletes and changes are captured; 500 windows that were missed are one run."""
    first = world(tmp_path, 3)
    fill(first, COUNTRIES)
    [run] = first.run()
    assert (run.window, run.status, held(first)) == (hour(2), RunStatus.COMPLETED, COUNTRIES)

    later, changed = world(tmp_path, 500), {"at": "Österreich", "ch": "Switzerland", "fr": "France", "it": "Italy"}
    fill(later, changed)
    assert [run.window for run in later.run()] == [hour(499)]
    assert held(later) == changed
    assert later.run() == []
    assert len(later.runs()) == 2


def test_every_link_of_the_proof_is_the_count_of_the_whole_table(tmp_path):
    there = world(tmp_path)
    fill(there, COUNTRIES)
    there.run()
    fill(there, {**COUNTRIES, "dk": "Denmark"})
    [run] = world(tmp_path, 4).run()
    figures = run.phases[Phase.AUDIT].figures
    assert figures["validation_status"] == "PASSED"
    assert {link["name"]: link["count"] for link in figures["proof"]} == dict.fromkeys(
        [
            *("source_count", "rows_read", "footer_rows", "staged_rows", "copied_rows", "stage_rows"),
            *("merged_rows", "distinct_keys", "outcomes", "target_rows"),
        ],
        4,
    )
    assert (figures["source_count_live"], run.receipt.counts.deleted, len(run.manifest.parts)) == (4, 3, 1)


def test_a_source_that_was_wiped_wipes_nothing_and_a_retry_reads_it_again(tmp_path):
    there = world(tmp_path)
    fill(there, COUNTRIES)
    there.run()
    wiped = world(tmp_path, 4)
    fill(wiped, {})
    [run] = wiped.run()
    assert (run.failure.code, run.quarantined_at is not None) == ("empty_source", True)
    assert held(wiped) == COUNTRIES

    mended = world(tmp_path, 6)
    fill(mended, {**COUNTRIES, "dk": "Denmark"})
    assert mended.run() == []  # one run waits for an operator, and not one each hour
    reopened(mended, run)
    assert [(run.window, run.status) for run in mended.run()] == [
        (hour(3), RunStatus.COMPLETED),
        (hour(5), RunStatus.COMPLETED),
    ]
    assert set(held(mended)) == {*COUNTRIES, "dk"}


def test_an_empty_source_empties_the_target_where_that_is_said(tmp_path):
    there = world(tmp_path)
    fill(there, COUNTRIES)
    there.run()
    fill(there, {})
    [run] = world(tmp_path, 4, target_system={"snapshot": {"allow_empty": True}}).run()
    assert (run.status, run.receipt.counts.deleted, held(there)) == (RunStatus.COMPLETED, 3, {})


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    there = world(tmp_path, target_system={"key": ["code"]})
    fill(there, COUNTRIES, "be")
    [run] = there.run()
    assert (run.failure.code, there.query("SELECT count(*) FROM countries")) == ("duplicate_key", [(0,)])


def test_a_run_over_an_older_window_ends_without_touching_what_is_newer(tmp_path):
    """A drive table that was put back may hold one; it ends as SKIPPED and says for which window."""
    there = world(tmp_path)
    fill(there, COUNTRIES)
    there.run()
    before = there.query("SELECT count(*) FROM SLUICEWAY_LOADS")

    async def late() -> None:
        async with drive_of(there.config) as drive:
            await drive.create("events", "me", new_runs(there.config, {}, [hour(0)], RunKind.BACKFILL))

    asyncio.run(late())
    fill(there, {"xx": "Nowhere"})
    [run] = there.run()
    assert (run.status, run.window) == (RunStatus.SKIPPED, hour(0))
    assert str(hour(2)) in advice(run, NOW).happens
    assert (held(there), there.query("SELECT count(*) FROM SLUICEWAY_LOADS")) == (COUNTRIES, before)


def test_a_target_that_was_dropped_is_filled_by_the_next_window(tmp_path):
    there = world(tmp_path)
    fill(there, COUNTRIES)
    there.run()
    there.execute("DROP TABLE countries")
    [run] = world(tmp_path, 4).run()
    assert (run.status, held(there)) == (RunStatus.COMPLETED, COUNTRIES)


def test_windows_that_nobody_begins_are_no_gaps_and_say_why(tmp_path):
    there = world(tmp_path)
    fill(there, COUNTRIES)
    there.run()
    after = world(tmp_path, 5)

    async def look():
        async with drive_of(after.config) as drive:
            return await drive.summaries("events")

    found = ledger(after.config, asyncio.run(look()), NOW)
    assert [entry.fate for entry in found.entries] == [
        *(Fate.SKIPPED, Fate.SKIPPED, Fate.LOADED, Fate.SKIPPED, Fate.MISSING)
    ]
    assert found.entries[0].why == "superseded: only the newest window is loaded"
    assert found.gaps == (hour(4),)


def test_only_the_newest_window_can_be_loaded_again(tmp_path):
    config = world(tmp_path).config
    closed = START + 3 * HOUR
    require_newest(config, [hour(2)], closed)
    for windows in ([hour(0)], [hour(1), hour(2)], [Window(START + 2.5 * HOUR, closed)]):
        with pytest.raises(ConfigurationError, match="only its newest window") as caught:
            require_newest(config, windows, closed)
        assert str(hour(2)) in caught.value.message
    with pytest.raises(ConfigurationError, match="only its newest window"):
        require_newest(config, [hour(0)], START)
    require_newest(World(tmp_path, {}).config, [hour(0)], closed)


def test_a_daemon_opens_one_window_at_a_time_and_knows_how_old_the_table_is(tmp_path):
    there = world(tmp_path)
    fill(there, COUNTRIES)
    [run] = there.run()
    standing = Standing.of(there.config, [run.window], [])
    assert standing.due(START + 9 * HOUR, 5) == [hour(8)]
    assert standing.due(START + 3 * HOUR, 5) == []
    begun = Run(RunId(run.id.drive_id, "events", hour(8), 1), "r", RunKind.SCHEDULED, hour(8).start, NOW)
    standing.note(begun)
    assert (standing.due(START + 12 * HOUR, 5), standing.loaded_until([])) == ([], hour(2).end)
    assert [standing.has_run(hour(n)) for n in (0, 8, 9)] == [True, True, False]
    standing.replace([])  # another machine has done it meanwhile
    assert (standing.loaded_until([]), standing.due(START + 12 * HOUR, 5)) == (hour(8).end, [hour(11)])
    standing.note(begun)  # the same window once more
    assert standing.loaded_until([]) == hour(8).end


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"windows": {"lookback_seconds": 60}}, "windows.lookback_seconds"),
        ({"phases": {"target_cleaning": {"enabled": True, "retention": "90d"}}}, "phases.target_cleaning.enabled"),
        ({"target_system": {"mode": "append"}}, "source_system.cursor"),
        ({"target_system": {"mode": "merge", "key": ["code"]}}, "source_system.cursor"),
        (
            {"target_system": {"snapshot": {"max_shrink_percent": 101}}},
            "target_system.snapshot.max_shrink_percent",
        ),
    ],
)
def test_what_does_not_go_with_a_table_that_is_read_whole_is_refused(tmp_path, settings, path):
    there = world(tmp_path, **settings)
    with pytest.raises(InvalidConfig) as caught:
        parse_config(merged(defaults(tmp_path), there.settings))
    assert path in {problem.path for problem in caught.value.problems}
