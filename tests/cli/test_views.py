"""What is shown fits: at 80 columns no table wraps or loses a figure, and colour is never the only sign."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from rich.console import Console

from service import progress
from service.events import PartRead, PhaseStarted, RowsRead, RunClaimed, RunFailed, RunFinished, WindowsOpened
from service.planning import Planned
from service.report import report
from service.views import checks_table, plan_table, runs_table
from service.views_of_run import run_report
from state.checks import Check
from state.model import (
    Chunk,
    Failure,
    Manifest,
    MergeCounts,
    Part,
    Phase,
    PhaseRecord,
    PhaseStatus,
    Receipt,
    Run,
    RunId,
    RunKind,
    RunStatus,
    Window,
)

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROWS = 1_347_000


def run(day: int = 0, status: RunStatus = RunStatus.COMPLETED, verdict: str = "PASSED") -> Run:
    window = Window(START + day * DAY, START + (day + 1) * DAY)
    identity = RunId("d", "flights", window, 1)
    part = Part(window, (Chunk("a.parquet", ROWS, 130_000_000, "0" * 64),), ROWS, ROWS)
    counts = MergeCounts(ROWS, ROWS, ROWS - 3, 1, 1, 1)
    figures = {"validation_status": verdict, "proof": [], "broken_link": None}
    times = (START, START + timedelta(seconds=321))
    return Run(
        identity,
        f"flights_2013010{day + 1}_00h_run1",
        RunKind.SCHEDULED,
        window.start,
        START,
        status,
        phases={Phase.AUDIT: PhaseRecord(PhaseStatus.COMPLETED, *times, figures)},
        manifest=Manifest((part,)),
        receipt=Receipt(identity, 1, "m", "t", counts, START),
        attempts=1,
        token=1,
    )


def lines(renderable, width: int, **options) -> list[str]:
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(renderable)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120, 140])
def test_the_table_of_a_run_has_one_line_for_each_window_and_every_figure(width):
    runs = [run(day) for day in range(4)]
    shown = lines(runs_table(runs, width, 20), width)
    assert len(shown) == 1 + 4 + 1
    assert all(len(line.rstrip()) <= width for line in shown)
    for line in shown[1:5]:
        assert line.split()[-7:] == ["1,347,000", "1,346,997", "1", "1", "1", "321.0", "PASSED"]
    assert shown[5].split() == ["4", "windows", "5,388,000", "5,387,988", "4", "4", "4", "1284.0", "PASSED"]


def test_a_run_that_did_not_end_well_shows_its_status_instead_of_a_proof():
    failed = run(1, RunStatus.FAILED)
    shown = lines(runs_table([run(), failed], 80, 20), 80)
    assert shown[2].split()[-1] == "FAILED"
    assert shown[3].split()[-1] == "1/2"


def test_many_windows_are_folded_but_counted():
    shown = lines(runs_table([run(day) for day in range(9)], 80, 3), 80)
    assert shown[0] == "… 6 earlier windows, counted below"
    assert len(shown) == 1 + 1 + 3 + 1
    assert shown[-1].split()[:2] == ["9", "windows"]


def test_without_colour_the_words_are_all_there():
    coloured = lines(runs_table([run()], 80, 20), 80, force_terminal=True, color_system="truecolor")
    plain = lines(runs_table([run()], 80, 20), 80, force_terminal=True, no_color=True)
    assert any("\x1b[32m" in line for line in coloured)
    assert not any("\x1b[32m" in line for line in plain)
    assert "PASSED" in plain[1]


@pytest.mark.parametrize("width", [80, 120])
def test_a_run_is_shown_whole(width):
    failure = Failure(Phase.AUDIT, "audit_mismatch", "target_rows", "the proof breaks", "Retry.", START)
    found = report(run_with(failure), START)
    shown = lines(run_report(found, width), width)
    assert all(len(line) <= width for line in shown)
    text = " ".join(" ".join(shown).split())
    for words in (
        "the proof breaks",
        "audit_mismatch (target_rows)",
        "do not rely",
        "sluiceway retry flights_2013",
    ):
        assert words in text


def run_with(failure: Failure) -> Run:
    return replace(run(), status=RunStatus.FAILED, failure=failure, quarantined_at=START)


@pytest.mark.parametrize("width", [80, 120])
def test_plans_and_checks_fit(width):
    plan = [Planned(run(day).window, "", 3, ROWS) for day in range(2)]
    checks = [Check("target_system.database", False, "x " * 60, "Do this.")]
    for renderable in (plan_table(plan, width), checks_table(checks)):
        assert all(len(line) <= width for line in lines(renderable, width))
    assert "FAILED  target_system.database" in lines(checks_table(checks), width)[0]


def story() -> list:
    window = run().window
    return [
        WindowsOpened("flights", (window,)),
        RunClaimed(run(), Phase.STALE_PIPELINE_HANDLING),
        PhaseStarted(run(), Phase.SOURCE_TO_STAGE_TRANSFER),
        RowsRead(run(), 500),
        PartRead(run(), run().manifest.parts[0], 1, 2),
        RunFinished(run()),
    ]


def test_without_a_terminal_each_event_is_a_plain_line():
    console = Console(file=io.StringIO(), width=80)
    with progress.narrator(console) as emit:
        for event in story():
            emit(event)
    assert console.file.getvalue().splitlines() == [
        "flights: 1 windows opened, from [2013-01-01T00:00Z, 2013-01-02T00:00Z) to"
        " [2013-01-01T00:00Z, 2013-01-02T00:00Z)",
        "flights_20130101_00h_run1: part 1 of 2 read, 1,347,000 rows",
        "flights_20130101_00h_run1: COMPLETED, 1,347,000 rows",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_on_a_terminal_a_bar_is_drawn_on_one_line(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, legacy_windows=False)
    with progress.narrator(console) as emit:
        for event in story()[:4]:
            emit(event)
    drawn = console.file.getvalue().replace("\r", "\n").splitlines()
    [last] = [line for line in drawn if "500 rows" in line][-1:]
    plain = lines_without_codes(last)
    assert "flights_20130101_00h" in plain
    assert "0/1" in plain
    assert len(plain) <= width


def lines_without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_a_message_in_brackets_is_not_taken_for_markup():
    failure = Failure(Phase.AUDIT, "permanent", "x", "column [bold] is :smile:", "", START)
    for terminal in (True, False):
        console = Console(file=io.StringIO(), width=120, force_terminal=terminal, legacy_windows=False)
        with progress.narrator(console) as emit:
            emit(RunFailed(run(), failure))
        assert "column [bold] is :smile:" in console.file.getvalue()


def test_windows_are_counted_however_many_attempts_they_take():
    tally = progress.Tally()
    for event in (*story(), RunClaimed(run(), Phase.AUDIT), RunFinished(run())):
        tally.count(event)
    assert (tally.total, len(tally.ended), tally.rows) == (1, 1, 500)
    tally.count(RunClaimed(run(3), Phase.AUDIT))
    assert tally.total is None
