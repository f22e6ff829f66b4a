"""The closed sets of words that a run is told in; `state.model` hands them on with the nouns."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """The seven steps of a run, in order."""

    STALE_PIPELINE_HANDLING = "stale_pipeline_handling"  # settle what dead attempts left behind
    PRE_VALIDATION = "pre_validation"  # source, stage and target are as declared; the read range is cut
    SOURCE_TO_STAGE_TRANSFER = "source_to_stage_transfer"  # read, write chunks, stage, copy
    STAGE_TO_TARGET_TRANSFER = "stage_to_target_transfer"  # gate, then merge with fence and receipt
    AUDIT = "audit"  # re-read the counts independently
    STAGE_CLEANING = "stage_cleaning"  # archive and remove what was staged; only after a green audit
    TARGET_CLEANING = "target_cleaning"  # retention, off by default


class RunStatus(StrEnum):
    """`pipeline_status` in the drive table."""

    PENDING = "PENDING"  # waits for a worker; progress of earlier attempts is kept
    RUNNING = "RUNNING"  # a worker holds its lease
    COMPLETED = "COMPLETED"  # every phase is done
    SKIPPED = "SKIPPED"  # a user function said so; shown as a gap
    FAILED = "FAILED"  # `next_attempt_at`: goes on by itself; `quarantined_at`: an operator decides


FINISHED = (RunStatus.COMPLETED, RunStatus.SKIPPED)


class PhaseStatus(StrEnum):
    """`status` inside a phase's column of the drive table."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    SKIPPED = "SKIPPED"  # a user function asked to skip
    DISABLED = "DISABLED"  # switched off in the config
    FAILED = "FAILED"


class ValidationStatus(StrEnum):
    """`validation_status` of an audit."""

    PASSED = "PASSED"  # every link equal
    DRIFT = "DRIFT"  # every link equal; the live source has moved since, within tolerance
    UNPROVEN = "UNPROVEN"  # a link is asserted by a user function, or the source offers no count
    FAILED = "FAILED"  # a link does not hold


class SnapshotKind(StrEnum):
    """What a part was read inside."""

    PIT = "pit"
    TRANSACTION = "transaction"
    IMMUTABLE_FILE = "immutable_file"
    NONE = "none"


class RunKind(StrEnum):
    """Why a run exists."""

    SCHEDULED = "scheduled"  # one window of the tiling
    BACKFILL = "backfill"  # asked for by an operator
    REPAIR = "repair"  # a sub-range of closed windows read again
