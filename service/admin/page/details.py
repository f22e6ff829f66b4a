"""What the page of a pipeline, of a run and of a backfill say, gathered from the drive table and from memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import structs

from service.admin.page.heat import Line, lines
from service.admin.page.standings import last_windows
from service.daemon.actions import Backfill
from service.daemon.attendant import Attendant
from service.ledger import Entry, Ledger, entry, ledger
from service.proof import BRANCHES, SET_ASIDE
from service.report import Advice, RunReport, advice
from service.tick import closed_until
from service.views_of_run import advice_rows, failure_rows
from state.model import Phase, Run, RunStatus, Window
from state.summary import Summary, summary_of
from state.windows import Tiling, floor, following

SHOWN_WINDOWS = 1000


class Map(msgspec.Struct, frozen=True):
    """The heat map of `span` with its counts; `older` and `newer` are ends of the spans beside it."""

    span: Window
    lines: tuple[Line, ...]
    counts: Mapping[str, int]
    gaps: tuple[Window, ...]
    older: datetime | None
    newer: datetime | None


class Failed(msgspec.Struct, frozen=True):
    """Runs that failed alike: the first in the words of every other place, and the names of all of them."""

    names: tuple[str, ...]
    quarantined: bool
    told: tuple[tuple[str, str], ...]


def span_until(attendant: Attendant, end: datetime | None) -> tuple[Window | None, datetime]:
    """The last windows before `end`, or before what is closed now (None: there are none); until when the source is
    readable."""
    now = attendant.readable_until or datetime.now(UTC)
    closed = closed_until(attendant.worker.config, now)
    tiling = attendant.worker.config.windows.tiling()
    windows = last_windows(tiling, min(end or closed, closed), SHOWN_WINDOWS)
    return (Window(windows[0].start, windows[-1].end) if windows else None), now


def heat_map(attendant: Attendant, runs: Sequence[Summary], span: Window, now: datetime, by: str) -> Map:
    """Every window of `span` with its newest run."""
    config = attendant.worker.config
    tiling = config.windows.tiling()
    found = ledger(config, runs, now, within=span)
    entries = found.entries[-SHOWN_WINDOWS:]
    beyond = following(tiling, span.end) <= found.closed_until
    return Map(
        span,
        lines(tiling, entries, {run.name: run for run in runs}, by),
        counts(entries),
        found.gaps,
        span.start if span.start > tiling.start else None,
        newer(tiling, found, span) if beyond else None,
    )


def newer(tiling: Tiling, found: Ledger, span: Window) -> datetime:
    """End of the span that follows `span`."""
    end = span.end
    for _ in range(SHOWN_WINDOWS):
        after = following(tiling, end)
        if after > found.closed_until:
            break
        end = after
    return end


def counts(entries: Iterable[Entry]) -> dict[str, int]:
    """How many windows have each fate."""
    found: dict[str, int] = {}
    for one in entries:
        found[one.fate.value] = found.get(one.fate.value, 0) + 1
    return found


def failures(runs: Sequence[Summary], now: datetime, known: Iterable[Run] = ()) -> list[Failed]:
    """Failed runs that are not done otherwise; those that wait for an operator first, then the newest, alike ones
    together. `known`: what of other windows is known."""
    newest = {run.id: summary_of(run) for run in known} | {run.id: run for run in runs}
    failed = [run for run in newest.values() if run.status is RunStatus.FAILED and run.unfinished]
    failed.sort(key=lambda run: (run.quarantined_at is not None, run.window.start), reverse=True)
    alike: dict[tuple[object, ...], list[Summary]] = {}
    for run in failed:
        why = run.failure
        same = (run.quarantined_at is not None, why and (why.phase, why.kind, why.code, why.message))
        alike.setdefault(same, []).append(run)
    return [
        Failed(tuple(run.name for run in group), group[0].quarantined_at is not None, failed_rows(group[0], now))
        for group in alike.values()
    ]


def failed_rows(run: Summary, now: datetime) -> tuple[tuple[str, str], ...]:
    """What is said of a failed run everywhere, as `told` says it."""
    return (*failure_rows(run.failure, run.id.pipeline, str(run.window)), *clicked(advice(run, now)))


def told(found: RunReport) -> tuple[tuple[str, str], ...]:
    """What is said of a run everywhere, but for commands to type: here are buttons."""
    return (*failure_rows(found.failure, found.pipeline, found.window), *clicked(found.advice))


def clicked(given: Advice) -> list[tuple[str, str]]:
    """Advice without commands."""
    do = "" if given.do.endswith(":") else given.do
    return advice_rows(structs.replace(given, do=do, command=""))


class Box(msgspec.Struct, frozen=True):
    """A link of the proof. `bond`: how it hangs on the one before it: `=`, `≠`, `?` or nothing."""

    name: str
    count: int | None
    expected: int | None
    how: str
    bond: str
    broken: bool


def chain(proof: Sequence[Mapping[str, Any]], broken_link: str | None) -> list[Box]:
    """The proof, link by link."""
    made = []
    for link in proof:
        broken = link["name"] == broken_link
        unknown = link["count"] is None
        bond = "≠" if broken else "?" if unknown else "=" if link["expected"] is not None else ""
        if link["name"] == SET_ASIDE:
            bond = "−"
        elif link["name"] in BRANCHES and not broken:
            bond = ""  # another chain begins, or goes on
        made.append(Box(link["name"], link["count"], link["expected"], link["how"], bond, broken))
    return made


def phases_to_retry(run: Run) -> list[str]:
    """Earlier phases that a failed run may go on from."""
    failed = run.phase_failed
    return [] if failed is None else [phase.value for phase in list(Phase)[: list(Phase).index(failed)]]


def backfill_lines(attendant: Attendant, backfill: Backfill) -> tuple[Line, ...]:
    """The heat map of a backfill."""
    by_window = {run.window: run for run in backfill.runs}
    entries = [entry(window, by_window.get(window), [window]) for window in backfill.windows]
    names = {run.name: run for run in backfill.runs}
    return lines(attendant.worker.config.windows.tiling(), entries, names, "rows")


def is_cut(attendant: Attendant, windows: Sequence[Window]) -> bool:
    """Whether one of them is only a piece of a window of the schedule."""
    tiling = attendant.worker.config.windows.tiling()
    return any(
        floor(tiling, one.start) != one.start or following(tiling, one.start) != one.end
        for one in (windows[0], windows[-1])
    )


def first_closing(tiling: Tiling, lag: timedelta) -> datetime:
    """When the first window of a schedule can be loaded."""
    return following(tiling, tiling.start) + lag
