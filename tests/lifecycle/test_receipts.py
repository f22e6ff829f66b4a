"""What a run asks of the target's memory: its own receipt, however many others are there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from loaders.duckdb.loader import DuckDBLoader
from service.events import Event, PhaseStarted, RunFailed
from state.errors import UnknownOutcome
from state.model import Phase, RunStatus, Window
from tests.lifecycle.world import HOUR, START, World, events


def test_a_run_reads_no_receipt_but_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Six windows, one after the other: in the phases of the last one five receipts are there and none is read."""
    world = World(tmp_path, {"windows": {"end": (START + 6 * HOUR).isoformat()}})
    world.write("day", events(360))
    asked: list[tuple[Window | None, int]] = []
    phase: list[Phase] = []
    real = DuckDBLoader.loads

    async def loads(self, pipeline, run=None):
        found = await real(self, pipeline, run)
        if phase[-1:] == [Phase.STAGE_TO_TARGET_TRANSFER]:
            asked.append((run and run.window, len(found.receipts)))
        return found

    def hear(event: Event) -> None:
        if isinstance(event, PhaseStarted):
            phase.append(event.phase)

    monkeypatch.setattr(DuckDBLoader, "loads", loads)
    runs = world.run(emit=hear)
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 6
    assert asked == [(run.window, 0) for run in runs]


def test_a_merge_whose_answer_was_lost_is_taken_over_although_the_source_has_a_new_column(
    tmp_path: Path,
):
    """What was merged is not read anew under the new contract: that would be other data than the receipt is of."""
    world = World(tmp_path, {"windows": {"end": (START + HOUR).isoformat()}})
    world.write("day", events(60))

    @contextmanager
    def lost(name: str) -> Iterator[None]:
        yield
        if name == "loader.merge.commit":
            raise UnknownOutcome("the answer was lost on its way", code="answer_lost")

    def grow(event: Event) -> None:
        if isinstance(event, RunFailed):
            world.write("day", events(60).append_column("more", pa.array(["x"] * 60)))

    failed, run = world.run(port=lost, emit=grow)
    assert (failed.failure.code, run.status) == ("answer_lost", RunStatus.COMPLETED)
    assert run.phases[Phase.STAGE_TO_TARGET_TRANSFER].figures["taken_over"]
    assert run.phases[Phase.AUDIT].figures["validation_status"] == "PASSED"
    assert len(world.receipts()) == 1
