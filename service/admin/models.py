"""What goes over the wire of `/v1`, both ways. The OpenAPI document is made from these and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from service.ledger import Entry
from state.model import Phase, RunStatus, Window

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339: with a zone."""
When = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$",
        extra_json_schema={"format": "date-time"},
    ),
]
"""The same in a query, where a number would be taken for an instant too."""
Limit = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]


class Pipeline(msgspec.Struct, frozen=True):
    """A pipeline as this process knows it; instants are UTC. `trouble` tells why its last look failed."""

    name: str
    paused: bool
    is_well: bool
    trouble: str
    trouble_hint: str
    loaded_until: Instant | None
    closed_until: Instant | None
    unfinished: int
    quarantined: int
    walking: int


class Pipelines(msgspec.Struct, frozen=True):
    """All pipelines by name, and the files that are no valid configuration, with their problems."""

    pipelines: tuple[Pipeline, ...]
    refused: Mapping[str, tuple[str, ...]]


class RunLine(msgspec.Struct, frozen=True):
    """A run in short."""

    name: str
    status: RunStatus
    window: Window
    number: int
    kind: str
    attempts: int
    rows: int | None
    phase_failed: Phase | None
    error: str
    quarantined_at: Instant | None
    next_attempt_at: Instant | None
    updated_at: Instant | None


class Runs(msgspec.Struct, frozen=True):
    runs: tuple[RunLine, ...]


class Windows(msgspec.Struct, frozen=True):
    """The ledger of a span: closed windows in order, and the gaps between what is loaded."""

    pipeline: str
    closed_until: Instant
    windows: tuple[Entry, ...]
    gaps: tuple[Window, ...]


class Gaps(msgspec.Struct, frozen=True):
    pipeline: str
    gaps: tuple[Window, ...]


class Act(msgspec.Struct, frozen=True):
    """What somebody did, as it was written down before its effect."""

    at: Instant
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any]


class Acts(msgspec.Struct, frozen=True):
    events: tuple[Act, ...]


class BackfillWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """A span `[from, to)` of closed windows to load again. A dry run, the default, only tells its windows."""

    start: Instant
    end: Instant
    dry_run: bool = True


class BackfillView(msgspec.Struct, frozen=True):
    """A backfill. `done` of its `runs` are over; in a dry run there are none, only `windows`."""

    key: str
    pipeline: str
    span: Window
    dry_run: bool
    windows: tuple[Window, ...]
    runs: tuple[RunLine, ...]
    done: int


class RetryWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the run goes on: at its failed phase, or at an earlier one."""

    from_phase: Phase | None = None


class Done(msgspec.Struct, frozen=True):
    """An act was done."""

    done: str


class Reloaded(msgspec.Struct, frozen=True):
    """What a look at the folder changed, by name of pipeline, and the files that were refused."""

    begun: tuple[str, ...]
    ended: tuple[str, ...]
    refused: tuple[str, ...]


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """A span of window time, open where an end is missing; `limit`: how many at most."""

    start: When | None = None
    end: When | None = None
    limit: Limit = 1000


class RunsWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """Which runs: by status and span; the newest `limit` of them."""

    status: RunStatus | None = None
    start: When | None = None
    end: When | None = None
    limit: Limit = 100


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Problem(msgspec.Struct, frozen=True):
    """An error, in the form of RFC 9457."""

    status: int
    title: str
    code: str
    detail: str
    hint: str
    request_id: str
