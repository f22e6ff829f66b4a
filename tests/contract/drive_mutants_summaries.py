"""Drive tables that are wrong about runs in short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from state.memory import MemoryRows
from tests.contract.drive_broken import row
from tests.contract.drive_desk import Make


def summarised(change: Callable[[Any], Any]) -> Make:
    """The twin that tells its runs in short as `change` makes them."""
    return row(summaries=lambda self, *asked: [change(one) for one in MemoryRows.summaries(self, *asked)])


SUMMARIES: dict[str, Make] = {
    "forgets in short what failed": summarised(lambda one: replace(one, failure=None)),
    "forgets in short what was read": summarised(lambda one: replace(one, rows=None)),
    "forgets in short the verdict": summarised(lambda one: replace(one, proof="")),
    "forgets in short that rows were merged": summarised(lambda one: replace(one, merged=False)),
    "tells in short whole seconds": summarised(lambda one: replace(one, seconds=float(round(one.seconds)))),
    "tells in short all of a pipeline": row(
        summaries=lambda self, pipeline, _within: MemoryRows.summaries(self, pipeline, None)
    ),
    "tells in short what is covered": row(
        summaries=lambda self, pipeline, within: [
            one
            for one in MemoryRows.summaries(self, pipeline, None)
            if within is None or within.covers(one.window)
        ]
    ),
    "tells in short the runs of all pipelines": row(
        summaries=lambda self, _pipeline, within: MemoryRows.summaries(self, None, within)
    ),
    "tells in short the newest first": row(
        summaries=lambda self, *asked: MemoryRows.summaries(self, *asked)[::-1]
    ),
}
