"""What a run asks of the target's memory: its own receipt, however many others are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders.duckdb.loader import DuckDBLoader
from service.events import Event, PhaseStarted
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
