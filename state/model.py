"""The nouns of Sluiceway, as frozen values. No I/O and no clock in here.

Instants are timezone-aware UTC `datetime`s, exact to the microsecond. Values that go into the drive
table or a receipt are `msgspec.Struct`s, so that their JSON form is this declaration and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from state.words import FINISHED, Phase, PhaseStatus, RunKind, RunStatus, SnapshotKind, ValidationStatus

__all__ = [
    "FINISHED",
    "Attempt",
    "Chunk",
    "Claim",
    "Failure",
    "Manifest",
    "MergeCounts",
    "Part",
    "Phase",
    "PhaseRecord",
    "PhaseStatus",
    "Receipt",
    "Run",
    "RunId",
    "RunKind",
    "RunStatus",
    "SnapshotKind",
    "ValidationStatus",
    "Window",
    "run_name",
    "show_instant",
]


class Window(msgspec.Struct, frozen=True, order=True):
    """A half-open span of source time `[start, end)` in UTC. Raises ValueError if it is empty or naive."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("end", self.end)):
            if value.tzinfo is None or value.utcoffset() != timedelta(0):
                raise ValueError(f"window {name} must be in UTC, got {value.isoformat()}")
        if self.start >= self.end:
            raise ValueError(f"window end {self.end.isoformat()} must be after start {self.start.isoformat()}")

    def __str__(self) -> str:
        return f"[{show_instant(self.start)}, {show_instant(self.end)})"

    @property
    def width(self) -> timedelta:
        """Length of the span."""
        return self.end - self.start

    def overlaps(self, other: Window) -> bool:
        """True if the two spans share an instant; spans that only touch do not."""
        return self.start < other.end and other.start < self.end

    def covers(self, other: Window) -> bool:
        """True if `other` lies inside this span."""
        return self.start <= other.start and other.end <= self.end


def show_instant(at: datetime) -> str:
    """The shortest exact ISO form of a UTC instant: `2013-01-01T00:00Z`, seconds and fractions if not zero."""
    timespec = "microseconds" if at.microsecond else "seconds" if at.second else "minutes"
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


class RunId(msgspec.Struct, frozen=True, order=True):
    """Identity of a run: (drive id, pipeline, window, run number)."""

    drive_id: str
    pipeline: str
    window: Window
    number: int

    @property
    def hash(self) -> str:
        """Twelve hex digits that name this run in stage tables and files."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]


class Chunk(msgspec.Struct, frozen=True):
    """One Parquet file: `rows` and `bytes` as written, `sha256` of the bytes, cursor range if known."""

    name: str
    rows: int
    bytes: int
    sha256: str
    min_cursor: datetime | None = None
    max_cursor: datetime | None = None


class Part(msgspec.Struct, frozen=True):
    """A sub-range of the read range, and what reading it gave; `chunks` is None until it is read.

    `source_count` is the count inside the same snapshot, None where the source offers none; `rows_read`
    counts rows as they came, before they were written.
    `touched` counts values that a declared policy changed, by column. `aside` are the chunks of the rows that one
    set aside; a part without such rows has the form, and the digest, that it had before there were any.
    """

    range: Window
    chunks: tuple[Chunk, ...] | None = None
    source_count: int | None = None
    rows_read: int = 0
    kind: SnapshotKind = SnapshotKind.NONE
    read_at: datetime | None = None
    touched: Mapping[str, int] = msgspec.field(default_factory=dict)
    aside: tuple[Chunk, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_read(self) -> bool:
        return self.chunks is not None

    @property
    def rows(self) -> int:
        """Rows written for this part."""
        return sum(chunk.rows for chunk in self.chunks or ())

    @property
    def side_chunks(self) -> tuple[Chunk, ...]:
        """Chunks of the rows that are set aside."""
        return () if self.aside is msgspec.UNSET else self.aside

    @property
    def quarantined(self) -> int:
        """Rows set aside by a policy: they are written to `side_chunks`."""
        return sum(chunk.rows for chunk in self.side_chunks)


class Manifest(msgspec.Struct, frozen=True):
    """The parts of a run and their chunks. `schema_digest` names the contract they were written under."""

    parts: tuple[Part, ...] = ()
    schema_digest: str = ""

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        return tuple(chunk for part in self.parts for chunk in part.chunks or ())

    @property
    def files(self) -> tuple[Chunk, ...]:
        """Everything that is staged for the run: its chunks and its side chunks."""
        return (*self.chunks, *self.side_chunks)

    @property
    def span(self) -> Window | None:
        """What the parts read, from the first to the last; None without parts."""
        ranges = [part.range for part in self.parts]
        if not ranges:
            return None
        return Window(min(one.start for one in ranges), max(one.end for one in ranges))

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def side_chunks(self) -> tuple[Chunk, ...]:
        """Chunks of the rows that are set aside."""
        return tuple(chunk for part in self.parts for chunk in part.side_chunks)

    @property
    def quarantined(self) -> int:
        """Rows set aside by a policy."""
        return sum(part.quarantined for part in self.parts)

    @property
    def complete(self) -> bool:
        return bool(self.parts) and all(part.is_read for part in self.parts)

    @property
    def source_count(self) -> int | None:
        """Sum of the snapshot counts; None as soon as one part has none."""
        counts = [part.source_count for part in self.parts]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def digest(self) -> str:
        """SHA-256 over parts and chunks in order: what exactly is merged."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


class MergeCounts(msgspec.Struct, frozen=True):
    """What a merge did, each figure from a query of its own.

    Merge mode: `stage_rows - duplicates = distinct_keys = inserted + updated + older + unchanged`.
    Append mode: `inserted = stage_rows`; `deleted` rows of the window were replaced.
    `quarantined` rows went to the quarantine table.
    """

    stage_rows: int
    distinct_keys: int
    inserted: int
    updated: int = 0
    older: int = 0
    unchanged: int = 0
    deleted: int = 0
    quarantined: int = 0

    @property
    def duplicates(self) -> int:
        return self.stage_rows - self.distinct_keys


class Receipt(msgspec.Struct, frozen=True):
    """The row written in the target's own transaction: the one proof that a run was merged."""

    run: RunId
    token: int
    manifest_digest: str
    target_identity: str
    counts: MergeCounts
    merged_at: datetime


class Failure(msgspec.Struct, frozen=True):
    """Why an attempt ended. `kind` is the error class, `code` its bounded code.

    `in_a_row`: attempts that ended so, this one included.
    """

    phase: Phase
    kind: str
    code: str
    message: str
    hint: str
    at: datetime
    in_a_row: int = 1


class PhaseRecord(msgspec.Struct, frozen=True):
    """A phase's column in the drive table: status, times, and the phase's own figures beside them."""

    status: PhaseStatus
    started_at: datetime | None = None
    finished_at: datetime | None = None
    figures: Mapping[str, Any] = msgspec.field(default_factory=dict)


class Run(msgspec.Struct, frozen=True):
    """One row of the drive table. Changed only by `msgspec.structs.replace`.

    `read_start` is `window.start - lookback`. `token` is the last attempt's. `attempts` counts claims,
    `strikes` the failures of one class in a row. `name` is the operator's `pipeline_id`. `superseded_by`
    is the number of the run that does this FAILED one's window again.
    """

    id: RunId
    name: str
    kind: RunKind
    read_start: datetime
    created_at: datetime
    status: RunStatus = RunStatus.PENDING
    phases: Mapping[Phase, PhaseRecord] = msgspec.field(default_factory=dict)
    manifest: Manifest = Manifest()
    receipt: Receipt | None = None
    failure: Failure | None = None
    token: int = 0
    attempts: int = 0
    strikes: int = 0
    owner: str = ""
    lease_expires_at: datetime | None = None
    next_attempt_at: datetime | None = None
    quarantined_at: datetime | None = None
    superseded_by: int = 0
    updated_at: datetime | None = None

    @property
    def window(self) -> Window:
        return self.id.window

    @property
    def read_range(self) -> Window:
        """`[start - lookback, end)`: what this run reads."""
        return Window(self.read_start, self.window.end)

    @property
    def unfinished(self) -> bool:
        return self.status not in FINISHED and not self.superseded_by

    @property
    def merged(self) -> bool:
        return self.receipt is not None

    def done(self, phase: Phase) -> bool:
        """True if `phase` needs no further work."""
        record = self.phases.get(phase)
        return record is not None and record.status in (
            PhaseStatus.COMPLETED,
            PhaseStatus.SKIPPED,
            PhaseStatus.DISABLED,
        )

    @property
    def phase_failed(self) -> Phase | None:
        return self.failure.phase if self.failure and self.status is RunStatus.FAILED else None


class Claim(msgspec.Struct, frozen=True):
    """The right to write for a run until `expires_at` of the drive's clock; `token` fences older attempts."""

    run: Run
    token: int
    owner: str
    expires_at: datetime

    @property
    def attempt(self) -> Attempt:
        return Attempt(self.run.id, self.run.name, self.token)


class Attempt(msgspec.Struct, frozen=True):
    """One try at a run as a loader sees it: identity, operator's name, and the fencing token."""

    run: RunId
    name: str
    token: int


def run_name(pipeline: str, window: Window, number: int, *, scheduled: bool) -> str:
    """The operator's `pipeline_id`: `flights_20251115_10h_run1`; with the end too if not a scheduled span.

    Minutes, seconds and microseconds are named only where they are not zero.
    """
    span = _stamp(window.start) if scheduled else f"{_stamp(window.start)}_to_{_stamp(window.end)}"
    return f"{pipeline}_{span}_run{number}"


def _stamp(at: datetime) -> str:
    text = at.strftime("%Y%m%d_%Hh")
    if at.minute or at.second or at.microsecond:
        text += f"{at.minute:02d}m"
    if at.second or at.microsecond:
        text += f"{at.second:02d}s"
    return text + (f"{at.microsecond:06d}us" if at.microsecond else "")
