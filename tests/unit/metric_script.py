"""A sequence of events with one of everything, and what each series of `/metrics` must be after it.

Expected are the series that are not 0: every other one of `sluiceway_*` must be there and be 0.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from loaders.retention import Retired
from service.events import (
    AdminActed,
    CleaningFailed,
    ConfigRefused,
    DaemonStarted,
    DaemonStopped,
    DrainBegan,
    Event,
    FreshnessBack,
    FreshnessMissed,
    Listening,
    Looked,
    LookFailed,
    MemoryEased,
    MemoryShort,
    PartRead,
    PhaseFinished,
    PhaseRetried,
    PhaseStarted,
    PipelineAdded,
    RowsRead,
    RowsSetAside,
    RunClaimed,
    RunFailed,
    RunFenced,
    RunFinished,
    RunLeft,
    RunReleased,
    RunsRepaired,
    TargetCleaned,
    TickNoted,
    WindowsOpened,
)
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
    run_name,
)

START = datetime(2025, 11, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)

P1, P2, P3, P4, P5, P6, P7 = Phase


def window(number: int) -> Window:
    return Window(START + HOUR * number, START + HOUR * (number + 1))


def run(pipeline: str = "flights", number: int = 0, **changes: Any) -> Run:
    """A run of the `number`-th window, claimed once."""
    span = window(number)
    made = Run(
        RunId("drive", pipeline, span, 1),
        run_name(pipeline, span, 1, scheduled=True),
        RunKind.SCHEDULED,
        span.start,
        START,
        status=RunStatus.RUNNING,
        attempts=1,
        token=7,
    )
    return msgspec.structs.replace(made, **changes)


def with_figures(of: Run, phase: Phase, **figures: Any) -> Run:
    record = PhaseRecord(PhaseStatus.COMPLETED, START, START, figures)
    return msgspec.structs.replace(of, phases={**of.phases, phase: record})


def read(of: Run) -> Run:
    """`of` after phase 3: two parts, three chunks, 100 rows in 1,100 bytes, all copied; two values touched."""
    first = Part(of.window, (Chunk("a", 40, 500, ""), Chunk("b", 20, 200, "")), 60, 60)
    second = Part(of.window, (Chunk("c", 40, 400, ""),), 40, 40, touched={"day": 2})
    done = with_figures(of, P3, rows=100, bytes=1_100, chunks=3, parts=2, copied_rows=100)
    return msgspec.structs.replace(done, manifest=Manifest((first, second)))


def merged(of: Run) -> Run:
    """`of` after phase 4: of 100 rows 10 are of keys that came twice, 5 are older than what is there."""
    counts = MergeCounts(100, 90, inserted=50, updated=20, older=5, unchanged=15, deleted=3)
    receipt = Receipt(of.id, of.token, "", "", counts, START)
    return with_figures(
        msgspec.structs.replace(of, receipt=receipt),
        P4,
        **msgspec.structs.asdict(counts),
        duplicates=counts.duplicates,
    )


def audited(of: Run, verdict: str = "PASSED", now: int | None = 104) -> Run:
    """`of` after phase 5; the source holds `now` rows at the audit."""
    return with_figures(
        of,
        P5,
        source_count=100,
        source_count_live=now,
        stage_count=100,
        target_count=90,
        validation_status=verdict,
    )


def cleaned(of: Run) -> Run:
    """`of` after phase 7."""
    return with_figures(of, P7, rows_removed=12, rows_older=12, rows_total=500)


def failure(phase: Phase, kind: str, code: str, message: str = "it broke") -> Failure:
    return Failure(phase, kind, code, message, "Mend it.", START)


def failed(of: Run, why: Failure, *, quarantined: bool = False) -> RunFailed:
    at = {"quarantined_at": START} if quarantined else {"next_attempt_at": START + HOUR}
    return RunFailed(msgspec.structs.replace(of, status=RunStatus.FAILED, failure=why, **at), why)


def finished(of: Run, phase: Phase, seconds: float) -> PhaseFinished:
    return PhaseFinished(of, phase, PhaseStatus.COMPLETED, timedelta(seconds=seconds))


def whole_run(pipeline: str = "flights", number: int = 0) -> list[Event]:
    """One window, from opening it to the end, with 20 rows read twice."""
    begun = run(pipeline, number)
    done = cleaned(audited(merged(read(begun))))
    return [
        WindowsOpened(pipeline, (window(number), window(number + 1))),
        RunClaimed(begun, P1),
        PhaseStarted(begun, P1),
        finished(begun, P1, 0.125),
        finished(begun, P2, 0.5),
        RowsRead(begun, 60),
        PartRead(read(begun), read(begun).manifest.parts[0], 1, 2),
        RowsRead(begun, 20),
        PhaseRetried(begun, P3, 1, timedelta(seconds=1), "transient", "429", "too busy"),
        RowsRead(begun, 40),
        finished(read(begun), P3, 4.0),
        RowsSetAside(begun, 4, 100),
        finished(merged(read(begun)), P4, 2.0),
        finished(audited(merged(read(begun))), P5, 0.25),
        CleaningFailed(begun, P6, "a file is left"),
        finished(done, P6, 0.125),
        TargetCleaned(begun, Retired(12, 500, 12), START, dry_run=False),
        finished(done, P7, 0.0625),
        RunFinished(msgspec.structs.replace(done, status=RunStatus.COMPLETED)),
    ]


def troubles(pipeline: str = "flights") -> list[Event]:
    """Everything that may end otherwise."""
    return [
        RunClaimed(run(pipeline, 1), P1),
        failed(run(pipeline, 1), failure(P2, "configuration", "credential")),
        RunClaimed(run(pipeline, 2), P1),
        failed(run(pipeline, 2), failure(P5, "audit_mismatch", "target_rows"), quarantined=True),
        RunClaimed(run(pipeline, 3), P1),
        finished(audited(run(pipeline, 3), "DRIFT", 90), P5, 0.25),
        RunReleased(run(pipeline, 3)),
        RunClaimed(run(pipeline, 4), P1),
        finished(audited(run(pipeline, 4), "UNPROVEN", None), P5, 0.25),
        RunFenced(run(pipeline, 4), "another worker has it"),
        RunClaimed(run(pipeline, 7), P1),
        RunLeft(run(pipeline, 7), "the drive table is away"),
        RunClaimed(run(pipeline, 5), P1),
        RunFinished(run(pipeline, 5, status=RunStatus.SKIPPED)),
        RunClaimed(run(pipeline, 6), P1),
        PhaseRetried(run(pipeline, 6), P4, 2, timedelta(seconds=3), "a new class", "a-word-of-a-user", "no"),
        RunsRepaired(pipeline, ("a", "b", "c")),
        LookFailed(pipeline, "transient", "unreachable", "nobody there", "Wait."),
        TickNoted(pipeline, "missed"),
        TickNoted(pipeline, "overlapping"),
        TickNoted(pipeline, "overlapping"),
        TickNoted(pipeline, "failed"),
    ]


def whole_story() -> list[Event]:
    """One of everything: the pipeline `flights`, beside it `quiet` of which nothing is heard."""
    return [
        DaemonStarted("0.1.0"),
        Listening("health", "http://0.0.0.0:8080/"),
        Listening("admin", "http://127.0.0.1:8081/"),
        PipelineAdded("quiet"),
        PipelineAdded("flights"),
        *whole_run(),
        *troubles(),
        FreshnessMissed("flights", START, HOUR),
        Looked("flights", START + 8 * HOUR, START + HOUR, START + 2 * HOUR, 5, 1),
        ConfigRefused("bad.yaml", ("windows.start: is missing",)),
        AdminActed("ann", "backfill", "flights", "a window", "r-1", "ok"),
        AdminActed("ann", "something new", "flights", "a window", "r-2", "ok"),
        MemoryShort(9, 10),
        MemoryEased(7, 10),
        DrainBegan(1),
        FreshnessBack("flights"),
        FreshnessMissed("flights", START, HOUR),
        DaemonStopped(0),
    ]


def seconds(at: datetime) -> float:
    return at.timestamp()


Key = tuple[str, tuple[tuple[str, str], ...]]


def key(name: str, **labels: str) -> Key:
    """A series of ours: its name without the prefix, and its labels; `class_` stands for `class`."""
    return f"sluiceway_{name}", tuple(sorted((label.rstrip("_"), value) for label, value in labels.items()))


def of_flights() -> dict[Key, float]:
    """What the story makes of the series of `flights`."""

    def mine(name: str, **labels: str) -> Key:
        return key(name, pipeline="flights", **labels)

    rows = {"extracted": 120, "written": 100, "staged": 100, "loaded": 100, "inserted": 50, "updated": 20}
    rows |= {"unchanged": 15, "discarded": 15, "replaced": 3, "removed": 12}
    ends = ("completed", "skipped", "failed", "quarantined", "released", "fenced", "left")
    took = {P1: 0.125, P2: 0.5, P3: 4.0, P4: 2.0, P5: 0.75, P6: 0.125, P7: 0.0625}
    return {
        mine("windows_opened_total"): 2,
        **{mine("windows_total", result=end): 1 for end in ends},
        **{mine("rows_total", stage=stage): count for stage, count in rows.items()},
        mine("bytes_total"): 1_100,
        **{mine("run_phase_seconds_total", phase=phase): spent for phase, spent in took.items()},
        mine("run_retries_total"): 2,
        **{mine("audits_total", validation_status=v): 1 for v in ("passed", "drift", "unproven", "failed")},
        mine("quarantined_rows_total"): 4,
        mine("touched_values_total", column="day"): 2,
        mine("late_rows_total"): 4,
        mine("cleanings_failed_total"): 1,
        mine("repaired_runs_total"): 3,
        mine("looks_total", result="ok"): 1,
        mine("looks_total", result="failed"): 1,
        mine("scheduler_events_total", event="missed"): 1,
        mine("scheduler_events_total", event="overlapping"): 2,
        mine("scheduler_events_total", event="failed"): 1,
        mine("window_end_timestamp_seconds"): seconds(START + HOUR),
        mine("loaded_until_timestamp_seconds"): seconds(START + HOUR),
        mine("closed_until_timestamp_seconds"): seconds(START + 8 * HOUR),
        mine("oldest_open_window_timestamp_seconds"): seconds(START + 2 * HOUR),
        mine("lease_held"): 1,
        mine("unfinished_windows"): 5,
        mine("quarantined_windows"): 1,
        mine("freshness_missed"): 1,
    }


def of_phases() -> dict[Key, float]:
    """What the story makes of the histogram of phases."""
    took = {P1: [0.125], P2: [0.5], P3: [4.0], P4: [2.0], P5: [0.25] * 3, P6: [0.125], P7: [0.0625]}
    edges = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, float("inf")]
    expected: dict[Key, float] = {}
    for phase, all_of_it in took.items():
        expected[key("phase_duration_seconds_count", phase=phase)] = len(all_of_it)
        expected[key("phase_duration_seconds_sum", phase=phase)] = sum(all_of_it)
        for edge in edges:
            below = sum(one <= edge for one in all_of_it)
            name = "+Inf" if edge == float("inf") else str(edge)
            expected[key("phase_duration_seconds_bucket", phase=phase, le=name)] = below
    return {series: value for series, value in expected.items() if value}


def of_process(version: str) -> dict[Key, float]:
    """What the story makes of the other series of the process."""
    errors = [
        (P3, "transient", "429"),
        (P2, "configuration", "credential"),
        (P5, "audit_mismatch", "target_rows"),
        (P4, "error", "other"),
        ("look", "transient", "unreachable"),
    ]
    return {
        **{key("errors_total", phase=place, class_=kind, code=code): 1 for place, kind, code in errors},
        key("retries_total", phase=P3, class_="transient"): 1,
        key("retries_total", phase=P4, class_="error"): 1,
        key("configs_refused_total"): 1,
        key("admin_actions_total", action="backfill"): 1,
        key("admin_actions_total", action="other"): 1,
        key("draining"): 1,
        key("build_info", version=version): 1,
    }
