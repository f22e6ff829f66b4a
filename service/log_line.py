"""What an event says as one line of a log: the same few fields for all, flat, free text only where it must be.

docs/logs.md lists the fields; `Line` is their declaration, and nothing else writes one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec

from service.events import (
    AdminActed,
    CleaningFailed,
    ConfigRefused,
    DaemonStarted,
    DaemonStopped,
    DrainBegan,
    Event,
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
from service.report import advice
from state.masking import mask
from state.model import Phase, Run, ValidationStatus, Window

LONGEST_TEXT = 8_000
"""Characters of a free text; what is longer is cut."""

LOG_RECORD = "log"
"""`event` of what a library logged."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line. Fields that say nothing are left out; instants are RFC 3339 in UTC with microseconds.

    `message` and `hint` are the only free texts, and masked; `safe`, `happens` and `command` come from a few fixed
    sentences: is the data safe, what comes by itself, what to type.
    """

    time: str
    level: str
    event: str
    pipeline: str = ""
    run: str = ""
    window: str = ""
    attempt: int | None = None
    token: int | None = None
    phase: str = ""
    status: str = ""
    part: int | None = None
    parts: int | None = None
    rows: int | None = None
    bytes: int | None = None
    chunks: int | None = None
    inserted: int | None = None
    updated: int | None = None
    unchanged: int | None = None
    older: int | None = None
    duplicates: int | None = None
    deleted: int | None = None
    removed: int | None = None
    source_count: int | None = None
    stage_count: int | None = None
    target_count: int | None = None
    validation_status: str = ""
    seconds: float | None = None
    windows: int | None = None
    runs: int | None = None
    tries: int | None = None
    wait_seconds: float | None = None
    next_attempt_at: str = ""
    quarantined: bool | None = None
    quarantined_windows: int | None = None
    quarantined_rows: int | None = None
    unfinished: int | None = None
    closed_until: str = ""
    loaded_until: str = ""
    oldest_open: str = ""
    behind_seconds: float | None = None
    dry_run: bool | None = None
    what: str = ""
    address: str = ""
    version: str = ""
    exit_code: int | None = None
    used_bytes: int | None = None
    limit_bytes: int | None = None
    file: str = ""
    problems: int | None = None
    actor: str = ""
    action: str = ""
    subject: str = ""
    request_id: str = ""
    result: str = ""
    kind: str = ""
    code: str = ""
    message: str = ""
    hint: str = ""
    safe: str = ""
    happens: str = ""
    command: str = ""
    logger: str = ""
    suppressed: int | None = None
    lines: int | None = None


Fields = Mapping[str, Any]

NAMES: Mapping[type, str] = {
    kind: re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in get_args(Event)
}
"""`event` of each event: its class in lower case with underscores."""

QUIET = (Looked, RowsRead)
"""Not transitions: a look that found nothing new, rows inside a part. Written at level debug, rows never."""

ERRORS = (ConfigRefused,)
WARNINGS = (PhaseRetried, CleaningFailed, RunFenced, RunLeft, TickNoted, LookFailed, FreshnessMissed, MemoryShort)


def line_of(event: Event, at: datetime) -> Line | None:
    """The line of an event that was heard at `at`; None for those that are no line."""
    if isinstance(event, RowsRead):
        return None
    level = logging.getLevelName(level_of(event)).lower()
    run = getattr(event, "run", None)
    about = about_run(run) if isinstance(run, Run) else {"pipeline": getattr(event, "pipeline", "")}
    details = DETAILS.get(type(event), nothing)(event)
    return Line(**{"time": rfc3339(at), "level": level, "event": NAMES[type(event)], **about, **details})


def level_of(event: Event) -> int:
    """How much an event asks for: an error asks for a person, a warning goes on by itself."""
    if isinstance(event, QUIET):
        return logging.DEBUG
    if isinstance(event, RunFailed):
        return logging.ERROR if event.run.quarantined_at is not None else logging.WARNING
    if isinstance(event, DaemonStopped):
        return logging.ERROR if event.exit_code else logging.INFO
    return (
        logging.ERROR
        if isinstance(event, ERRORS)
        else logging.WARNING
        if isinstance(event, WARNINGS)
        else logging.INFO
    )


def rfc3339(at: datetime | None) -> str:
    """`2025-11-15T10:00:00.000000Z`; empty if there is no instant."""
    return "" if at is None else at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def clean(text: str) -> str:
    """A free text without secrets, that can be encoded, of bounded length."""
    told = mask(text).encode("utf-8", "replace").decode()
    return told if len(told) <= LONGEST_TEXT else told[:LONGEST_TEXT] + "…"


def about_run(run: Run) -> Fields:
    return {
        "pipeline": run.id.pipeline,
        "run": run.name,
        "window": str(run.window),
        "attempt": run.attempts,
        "token": run.token,
    }


def nothing(_event: Any) -> Fields:
    return {}


def opened(event: WindowsOpened) -> Fields:
    span = Window(event.windows[0].start, event.windows[-1].end) if event.windows else ""
    return {"windows": len(event.windows), "window": str(span)}


def read(event: PartRead) -> Fields:
    size = sum(chunk.bytes for chunk in event.part.chunks or ())
    return {"part": event.done, "parts": event.total, "rows": event.part.rows, "bytes": size}


def retried(event: PhaseRetried) -> Fields:
    return {
        "phase": event.phase.value,
        "tries": event.tries,
        "wait_seconds": round(event.wait.total_seconds(), 6),
        "kind": event.kind,
        "code": event.code,
        "message": clean(event.message),
    }


FIGURES: Mapping[Phase, Mapping[str, str]] = {
    Phase.SOURCE_TO_STAGE_TRANSFER: {name: name for name in ("rows", "bytes", "chunks", "parts")},
    Phase.STAGE_TO_TARGET_TRANSFER: {
        "stage_rows": "rows",
        **{name: name for name in ("inserted", "updated", "unchanged", "older", "duplicates", "deleted")},
    },
    Phase.AUDIT: {name: name for name in ("source_count", "stage_count", "target_count")},
    Phase.TARGET_CLEANING: {"rows_removed": "removed"},
}
"""Figures of a phase's column in the drive table, and the field of a line that each becomes."""


def finished(event: PhaseFinished) -> Fields:
    record = event.run.phases.get(event.phase)
    figures = record.figures if record else {}
    told = {
        field: figures[name]
        for name, field in FIGURES.get(event.phase, {}).items()
        if type(figures.get(name)) is int
    }
    verdict = figures.get("validation_status") if event.phase is Phase.AUDIT else None
    if verdict in set(ValidationStatus):
        told["validation_status"] = str(verdict)
    seconds = round(event.took.total_seconds(), 6)
    return {"phase": event.phase.value, "status": event.status.value, "seconds": seconds, **told}


def ended(event: RunFinished) -> Fields:
    run = event.run
    size = sum(chunk.bytes for chunk in run.manifest.chunks)
    return {"status": run.status.value, "rows": run.manifest.rows, "bytes": size}


def failed(event: RunFailed) -> Fields:
    run, failure = event.run, event.failure
    told = advice(run, failure.at)
    return {
        "phase": failure.phase.value,
        "status": run.status.value,
        "kind": failure.kind,
        "code": failure.code,
        "message": clean(failure.message),
        "hint": clean(failure.hint),
        "next_attempt_at": rfc3339(run.next_attempt_at),
        "quarantined": run.quarantined_at is not None,
        "safe": told.safe,
        "happens": told.happens,
        "command": told.command,
    }


def looked(event: Looked) -> Fields:
    return {
        "closed_until": rfc3339(event.closed_until),
        "loaded_until": rfc3339(event.loaded_until),
        "oldest_open": rfc3339(event.oldest_open),
        "unfinished": event.unfinished,
        "quarantined_windows": event.quarantined,
    }


def look_failed(event: LookFailed) -> Fields:
    return {
        "kind": event.kind,
        "code": event.code,
        "message": clean(event.message),
        "hint": clean(event.hint),
        "safe": "No run was touched.",
        "happens": "The next look comes by itself.",
    }


def cleaned(event: TargetCleaned) -> Fields:
    return {"removed": event.found.deleted, "dry_run": event.dry_run}


def refused(event: ConfigRefused) -> Fields:
    problems = clean("\n".join(event.problems))
    return {"file": clean(event.file), "problems": len(event.problems), "message": problems}


def late(event: FreshnessMissed) -> Fields:
    return {"loaded_until": rfc3339(event.loaded_until), "behind_seconds": event.behind.total_seconds()}


def acted(event: AdminActed) -> Fields:
    names = ("actor", "action", "subject", "request_id", "result")
    return {name: clean(getattr(event, name)) for name in names}


def memory(event: MemoryShort | MemoryEased) -> Fields:
    return {"used_bytes": event.used, "limit_bytes": event.limit}


DETAILS: Mapping[type, Callable[[Any], Fields]] = {
    WindowsOpened: opened,
    RunsRepaired: lambda event: {"runs": len(event.runs)},
    RunClaimed: lambda event: {"phase": event.continues_at.value},
    PhaseStarted: lambda event: {"phase": event.phase.value},
    PartRead: read,
    PhaseRetried: retried,
    PhaseFinished: finished,
    CleaningFailed: lambda event: {"phase": event.phase.value, "message": clean(event.message)},
    TargetCleaned: cleaned,
    RowsSetAside: lambda event: {"rows": event.loaded, "quarantined_rows": event.rows},
    RunFinished: ended,
    RunFailed: failed,
    RunReleased: lambda event: {"status": event.run.status.value},
    RunFenced: lambda event: {"message": clean(event.message)},
    RunLeft: lambda event: {"message": clean(event.message)},
    TickNoted: lambda event: {"what": event.what},
    Looked: looked,
    LookFailed: look_failed,
    FreshnessMissed: late,
    ConfigRefused: refused,
    DaemonStarted: lambda event: {"version": event.version},
    Listening: lambda event: {"what": event.what, "address": event.address},
    MemoryShort: memory,
    MemoryEased: memory,
    DrainBegan: lambda event: {"runs": event.runs},
    DaemonStopped: lambda event: {"exit_code": event.exit_code},
    AdminActed: acted,
}
"""What an event says besides its run or pipeline; those that are not here say no more."""
