"""Value policies through whole runs: rows set aside are proven, told, replaced when they are mended, and never too
many (M-14, G-16); a process killed while they are merged sets none aside twice (G-2)."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from service.admin.page.details import chain
from service.app import opened
from service.events import RowsSetAside
from service.metrics import Metrics
from service.progress import sentence
from service.report import report
from service.views_of_run import run_report
from state.model import Phase, Run, RunStatus, ValidationStatus, Window
from tests.lifecycle.ports import Moment, trap_at
from tests.lifecycle.processes import exit_code
from tests.lifecycle.world import HOUR, START, World

TYPES = {"id": "string", "at": "timestamp", "version": "int64", "value": "float64", "day": "date"}
BAD = {7: "0000-00-00", 70: "31.2.2025"}
"""Days that are none, by the minute of their row."""
QUARANTINE = "events__SLUICEWAY_QUARANTINE"


def world_of(root: Path, policy: str = "quarantine", **phases) -> World:
    """Two windows of an hour over a csv of 100 rows, one a minute."""
    source = {"path": f"{root}/source/*.csv", "format": "csv", "types": TYPES, "on_bad_value": {"day": policy}}
    settings = {"source_system": source, "phases": {"source_to_stage_transfer": phases}}
    world = World(root, settings)
    fill(world, BAD)
    return world


def fill(world: World, bad: dict[int, str]) -> None:
    rows = [
        f"e{n:03d},{(START + timedelta(minutes=n)).isoformat()},1,{n * 0.5},{bad.get(n, '2025-11-15')}"
        for n in range(100)
    ]
    (world.root / "source").mkdir(parents=True, exist_ok=True)
    (world.root / "source" / "day.csv").write_text("\n".join([",".join(TYPES), *rows, ""]))


def set_aside(world: World) -> list[tuple]:
    """What the quarantine table holds: bad value, run, and the source row."""
    rows = world.query(f"SELECT bad_value, _sluiceway_run, row_text FROM {QUARANTINE} ORDER BY row_cursor")
    return [(value, run, json.loads(text)["id"]) for value, run, text in rows]


def loaded(world: World) -> int:
    [(rows,)] = world.query("SELECT count(*) FROM events")
    return rows


def links(run: Run) -> dict[str, tuple]:
    return {link["name"]: (link["count"], link["expected"]) for link in run.phases[Phase.AUDIT].figures["proof"]}


async def loaded_again(world: World) -> list[Run]:
    async with opened(world.config, lambda _event: None) as worker:
        return await worker.backfill([Window(START, START + HOUR)])


async def test_rows_set_aside_are_a_link_of_their_own_and_leave_when_they_are_mended_and_loaded_again(tmp_path):
    world, heard, metrics = world_of(tmp_path), [], Metrics()
    metrics.known("events")
    first, second = await world.run_due(emit=lambda event: (heard.append(event), metrics.hear(event)))
    assert {run.phases[Phase.AUDIT].figures["validation_status"] for run in (first, second)} == {
        ValidationStatus.PASSED
    }
    assert set_aside(world) == [(BAD[7], first.name, "e007"), (BAD[70], second.name, "e070")]
    assert loaded(world) == 98
    found = links(first)
    assert (found["source_count"][0], found["rows_read"], found["footer_rows"]) == (60, (60, 60), (59, 59))
    assert [found[name] for name in ("quarantined_rows", "staged_quarantined", "copied_quarantined")] == [
        (1, None),
        (1, 1),
        (1, 1),
    ]
    assert [found[name] for name in ("stage_quarantined", "merged_quarantined", "quarantine_rows")] == [(1, 1)] * 3
    assert first.phases[Phase.AUDIT].figures["quarantined"] == first.receipt.counts.quarantined == 1
    told = [event for event in heard if isinstance(event, RowsSetAside)]
    assert [sentence(event) for event in told] == [
        f"{first.name}: 1 rows set aside, 59 loaded",
        f"{second.name}: 1 rows set aside, 39 loaded",
    ]
    assert b'sluiceway_quarantined_rows_total{pipeline="events"} 2.0' in metrics.text()[0]
    fill(world, {70: BAD[70]})
    [again] = await loaded_again(world)
    assert again.status is RunStatus.COMPLETED
    assert set_aside(world) == [(BAD[70], second.name, "e070")]
    assert loaded(world) == 99


def test_show_and_the_status_page_have_the_chain_with_what_was_set_aside(tmp_path):
    world = world_of(tmp_path)
    run = world.run()[0]
    found = report(run, datetime.now(UTC))
    bonds = {box.name: box.bond for box in chain(found.proof, found.broken_link)}
    assert [bonds[name] for name in ("rows_read", "quarantined_rows", "footer_rows")] == ["=", "−", "="]
    assert (bonds["staged_quarantined"], bonds["copied_quarantined"]) == ("", "=")
    console = Console(width=120, record=True, file=(tmp_path / "said").open("w"))
    console.print(run_report(found, 120))
    console.file.close()
    said = console.export_text()
    assert "quarantined_rows" in said and "quarantine_rows" in said and "quarantined 1" in said
    assert any("-aside-" in file["name"] for file in found.files)


@pytest.mark.parametrize(("policy", "held"), [("null", None), ("text", BAD[7])])
def test_touched_values_are_counted_by_column_in_the_audit_and_in_a_metric(tmp_path, policy, held):
    world, metrics = world_of(tmp_path, policy), Metrics()
    metrics.known("events")
    first, _ = world.run(emit=metrics.hear)
    assert first.phases[Phase.AUDIT].figures["touched"] == {"day": 1}
    assert world.query("SELECT day FROM events WHERE id = 'e007'") == [(held,)]
    assert b'sluiceway_touched_values_total{column="day",pipeline="events"} 2.0' in metrics.text()[0]
    assert world.query("SELECT 1 FROM duckdb_tables() WHERE table_name LIKE '%QUARANTINE'") == []


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"max_quarantined_rows": 1}, "2 rows of .* and 1 rows may be set aside; one of them for day: no date"),
        ({"max_quarantined_percent": 1.9}, r"2 of 100 rows of .* and 1.9 percent may be set aside"),
    ],
)
def test_too_many_rows_to_set_aside_merge_nothing_and_wait_for_an_operator(tmp_path, limit, words):
    world = world_of(tmp_path, **limit)
    world.settings["windows"] = {"width": "2h"}
    [run] = world.run()
    assert (run.status, run.phase_failed) == (RunStatus.FAILED, Phase.SOURCE_TO_STAGE_TRANSFER)
    assert run.quarantined_at is not None
    assert (run.failure.kind, run.failure.code) == ("permanent", "quarantined_rows")
    assert re.search(words, run.failure.message)
    assert loaded(world) == 0
    assert not any(part.is_read for part in run.manifest.parts)


def attempt(world: World, name: str | None, moment: Moment) -> None:
    """Body of a worker process."""
    runs = world.run() if name is None else world.run(trap_at(name, 1, moment))
    assert all(run.status is RunStatus.COMPLETED for run in runs if not run.unfinished)


def test_killed_while_rows_are_set_aside_each_is_there_once_g2(tmp_path):
    whole = world_of(tmp_path / "whole")
    whole.run()
    expected = set_aside(whole), loaded(whole)

    def survives(point: tuple[str, Moment]) -> str:
        world = world_of(tmp_path / f"{point[0]}-{point[1].name}")
        exit_code(attempt, world, *point)
        again = exit_code(attempt, world, None, Moment.AFTER)
        found = set_aside(world), loaded(world)
        return "" if (again, found) == (0, expected) else f"{point}: exit {again}, {found}"

    todo = [("loader.merge.quarantine", moment) for moment in Moment] + [("loader.merge.make", Moment.AFTER)]
    with ThreadPoolExecutor(2) as pool:
        assert [wrong for wrong in pool.map(survives, todo) if wrong] == []
