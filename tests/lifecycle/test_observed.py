"""What metrics and logs tell of real runs is what the drive table holds of them (O-2, O-7, O-9)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.events import Emit, Event, PipelineAdded
from service.logs import Lines
from service.metrics import Metrics
from state.model import Phase, PhaseStatus, Run, RunStatus, show_instant
from state.port import Port, direct
from tests.lifecycle.ports import Moment, trap_at
from tests.lifecycle.world import HOUR, START, World, at_start_of, events, stop


class Observed:
    """A world whose runs are heard by metrics and a log."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.text = io.StringIO()
        self.lines = Lines(self.text, json=True, level=logging.DEBUG)
        self.metrics = Metrics()
        self.metrics.hear(PipelineAdded("events"))

    def run(self, *more: Emit, port: Port = direct) -> list[Run]:
        """Everything that is due, and what the drive table then holds."""

        def hear(event: Event) -> None:
            for listener in (self.lines.hear, self.metrics.hear, *more):
                listener(event)

        with suppress(asyncio.CancelledError):
            self.world.run(self.metrics.port(port), hear)
        self.lines.close()
        return self.world.runs()

    def log(self, event: str = "") -> list[dict]:
        written = [json.loads(line) for line in self.text.getvalue().splitlines()]
        return [line for line in written if event in ("", line["event"])]

    def of(self, name: str, **labels: str) -> float:
        """A series, or the sum of those that these labels fit."""
        families = text_string_to_metric_families(self.metrics.text()[0].decode())
        samples = (one for family in families for one in family.samples if one.name == f"sluiceway_{name}")
        return sum(one.value for one in samples if labels.items() <= one.labels.items())


@pytest.fixture
def seen(tmp_path: Path) -> Observed:
    """Two windows of 60 rows; ten keys of the second are in the first, older."""
    world = World(tmp_path, {})
    world.write("first", events(60))
    second = events(60, START + HOUR, version=2).to_pydict()
    second["id"][:10] = events(10).to_pydict()["id"]
    world.write("second", type(events(1)).from_pydict(second, schema=events(1).schema))
    return Observed(world)


def figures(run: Run, phase: Phase) -> dict:
    return dict(run.phases[phase].figures)


def test_metrics_are_the_sums_of_the_drive_table(seen):
    runs = seen.run()
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 2
    counts = [run.receipt.counts for run in runs]
    expected = {
        "extracted": sum(part.rows_read for run in runs for part in run.manifest.parts),
        "written": sum(run.manifest.rows for run in runs),
        "staged": sum(figures(run, Phase.SOURCE_TO_STAGE_TRANSFER)["copied_rows"] for run in runs),
        "loaded": sum(count.stage_rows for count in counts),
        "inserted": sum(count.inserted for count in counts),
        "updated": sum(count.updated for count in counts),
        "unchanged": sum(count.unchanged for count in counts),
        "discarded": sum(count.duplicates + count.older for count in counts),
        "replaced": sum(count.deleted for count in counts),
        "removed": 0,
    }
    assert {stage: seen.of("rows_total", stage=stage) for stage in expected} == expected
    assert (expected["written"], expected["inserted"], expected["updated"]) == (120, 110, 10)
    assert seen.of("bytes_total") == sum(chunk.bytes for run in runs for chunk in run.manifest.chunks)
    assert seen.of("windows_opened_total") == seen.of("windows_total", result="completed") == 2
    assert seen.of("audits_total", validation_status="passed") == seen.of("audits_total") == 2
    assert seen.of("window_end_timestamp_seconds") == max(run.window.end for run in runs).timestamp()
    assert seen.of("lease_held") == seen.of("errors_total") == seen.of("retries_total") == 0


def test_every_phase_is_timed_once_for_each_run(seen):
    runs = seen.run()
    for phase in Phase:
        done = sum(run.phases[phase].status is PhaseStatus.COMPLETED for run in runs)
        assert seen.of("phase_duration_seconds_count", phase=phase) == done
        spent = seen.of("phase_duration_seconds_sum", phase=phase)
        assert seen.of("run_phase_seconds_total", phase=phase) == pytest.approx(spent)
        assert (spent > 0) == (done > 0)


def test_every_effect_of_a_real_run_has_a_name_of_its_own(seen):
    seen.run()
    for kind in ("source.read", "spool.rename", "loader.put", "loader.copy", "loader.merge", "drive.checkpoint"):
        assert seen.of("effects_total", kind=kind, result="ok") > 0
        assert seen.of("effect_seconds_total", kind=kind) > 0
    assert seen.of("effects_total", kind="other") == 0
    assert seen.of("effects_total", result="ok") == seen.of("effects_total")


def test_the_log_tells_each_phase_with_the_figures_of_the_drive_table(seen):
    runs = {run.name: run for run in seen.run()}
    for name, run in runs.items():
        lines = [line for line in seen.log("phase_finished") if line["run"] == name]
        done = [phase for phase in Phase if run.phases[phase].status is PhaseStatus.COMPLETED]
        assert [line["phase"] for line in lines] == done
        of = {line["phase"]: line for line in lines}
        transfer = figures(run, Phase.SOURCE_TO_STAGE_TRANSFER)
        for field in ("rows", "bytes", "chunks", "parts"):
            assert of[Phase.SOURCE_TO_STAGE_TRANSFER][field] == transfer[field]
        merge = of[Phase.STAGE_TO_TARGET_TRANSFER]
        assert (merge["rows"], merge["inserted"], merge["updated"]) == (
            run.receipt.counts.stage_rows,
            run.receipt.counts.inserted,
            run.receipt.counts.updated,
        )
        audit = figures(run, Phase.AUDIT)
        for field in ("source_count", "stage_count", "target_count", "validation_status"):
            assert of[Phase.AUDIT][field] == audit[field]
    assert {line["run"] for line in seen.log("run_finished")} == set(runs)


def test_every_line_of_a_run_says_which_window_attempt_and_token(seen):
    runs = {run.name: run for run in seen.run()}
    lines = [line for line in seen.log() if "run" in line]
    assert len(lines) >= 2 * 7
    for line in lines:
        run = runs[line["run"]]
        assert (line["pipeline"], line["window"]) == ("events", str(run.window))
        assert (line["attempt"], line["token"]) == (run.attempts, run.token)


def test_work_that_is_done_again_is_told_as_retries_and_loses_nothing_o9(seen):
    runs = seen.run(port=trap_at("loader.copy.load", 1, Moment.ANSWER_LOST))
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 2
    [line] = seen.log("phase_retried")
    assert (line["kind"], line["code"], line["phase"]) == ("transient", "answer_lost", "source_to_stage_transfer")
    assert seen.of("retries_total", phase=line["phase"], **{"class": "transient"}) == seen.of("retries_total") == 1
    assert seen.of("errors_total", code="other", phase=line["phase"]) == seen.of("errors_total") == 1
    assert seen.of("effects_total", kind="loader.copy", result="error") == 1
    assert seen.of("rows_total", stage="staged") == seen.of("rows_total", stage="written") == 120
    assert seen.of("notifications_total", result="dropped") == 0


def test_a_run_that_waits_for_an_operator_is_told_with_the_failure_of_the_drive_table(seen):
    def spoil() -> None:
        seen.world.execute("DELETE FROM events WHERE id = (SELECT min(id) FROM events)")

    [spoilt] = [run for run in seen.run(at_start_of(Phase.AUDIT, spoil)) if run.quarantined_at]
    [line] = seen.log("run_failed")
    failure = spoilt.failure
    assert [line[field] for field in ("kind", "code", "message", "hint", "phase")] == [
        *(failure.kind, failure.code, failure.message, failure.hint, failure.phase)
    ]
    assert (line["level"], line["run"]) == ("error", spoilt.name)
    assert "do not rely" in line["safe"]
    assert (
        seen.of("windows_total", result="quarantined") == seen.of("audits_total", validation_status="failed") == 1
    )
    assert seen.of("errors_total", code="target_rows", phase="audit", **{"class": "audit_mismatch"}) == 1


def test_a_worker_that_is_told_to_stop_lets_go_and_says_so(seen):
    [first, *_rest] = seen.run(at_start_of(Phase.AUDIT, stop))
    assert first.status is RunStatus.PENDING
    assert [line["run"] for line in seen.log("run_released")] == [first.name]
    assert (seen.of("windows_total", result="released"), seen.of("lease_held")) == (1, 0)
    seen.run()
    assert seen.of("windows_total", result="completed") == 2
    assert seen.of("rows_total", stage="loaded") == 120  # what was merged before is not merged, nor counted, again


def test_windows_are_told_as_people_write_them(seen):
    seen.run()
    [line] = seen.log("windows_opened")
    assert (line["windows"], line["window"]) == (2, f"[{show_instant(START)}, {show_instant(START + 2 * HOUR)})")
