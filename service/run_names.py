"""From the name of a run, or its beginning, to the run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches

from state.drive import DriveTable
from state.errors import ConfigurationError
from state.model import Run, Window
from state.summary import Summary

SHOWN = 5
"""Names listed when a RUN is not clear."""


async def the_run(drive: DriveTable, pipeline: str, name: str) -> Run:
    """The run of that name, or the only one whose name begins so. Raises `ConfigurationError`.

    A whole name is asked for as it is. The beginning of one tells the day of the window, so that a long ledger is
    only looked through where nothing is found there.
    """
    named = await drive.runs(pipeline, name=name)
    if not named:
        day = day_of(name)
        there = await drive.summaries(pipeline, within=day) if day else []
        if not any(run.name.startswith(name) for run in there):
            there = await drive.summaries(pipeline)
        named = await drive.runs(pipeline, name=chosen(there, name).name)
    return named[0]


def day_of(name: str) -> Window | None:
    """The day that a run's name holds (`flights_20251115_10h_run1`), None where it holds none."""
    found = re.search(r"_(\d{8})(?=_|$)", name)
    if found is None:
        return None
    try:
        start = datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=UTC)
        return Window(start, start + timedelta(days=1))
    except (ValueError, OverflowError):
        return None


def chosen(runs: Sequence[Summary], name: str) -> Summary:
    """One of `runs`, as `the_run` chooses."""
    exact = [run for run in runs if run.name == name]
    begun = exact or [run for run in runs if run.name.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    names = [run.name for run in begun]
    if names:
        raise unclear(f"{len(names)} runs begin with {name!r}", f"Say which: {listed(names)}.")
    near = get_close_matches(name, [run.name for run in runs], n=3, cutoff=0.5)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    raise unclear(f"there is no run {name!r} in the drive table", f"{meant}`sluiceway windows` lists them.")


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def unclear(message: str, hint: str) -> ConfigurationError:
    return ConfigurationError(message, hint=hint, code="unknown_run", path="RUN")
