"""What the process says when it ends; docs/cli.md lists the same."""

from __future__ import annotations

from collections.abc import Sequence

from state.errors import (
    AuditMismatch,
    ConfigurationError,
    LeaseLost,
    RestartAttempt,
    SluicewayError,
    TransientError,
    UnknownOutcome,
)
from state.model import Run, RunStatus

OK = 0
"""Done, or nothing was due."""
FAILED = 1
"""A run or a check failed, and an operator must look."""
CONFIG = 2
"""Wrong usage or configuration: nothing was started."""
TRANSIENT = 3
"""Something was not available, or a run was lost to another worker; the same command may succeed later."""
AUDIT_MISMATCH = 4
"""A count of a proof does not hold."""
DEFECT = 70
"""A defect of Sluiceway itself (`EX_SOFTWARE` of sysexits.h)."""
INTERRUPTED = 130
"""Stopped by Ctrl-C (SIGINT); progress is kept."""
STOPPED = 143
"""Stopped by SIGTERM; progress is kept."""


def of_error(error: SluicewayError) -> int:
    """The code for an error that ended a command."""
    match error:
        case ConfigurationError():
            return CONFIG
        case TransientError() | RestartAttempt() | UnknownOutcome() | LeaseLost():
            return TRANSIENT
        case AuditMismatch():
            return AUDIT_MISMATCH
    return FAILED


def of_runs(runs: Sequence[Run]) -> int:
    """The code for runs as a command left them, each once; the gravest counts.

    One that is PENDING or RUNNING then was lost to another worker: nobody knows yet whether it will be loaded.
    """
    failed = [run for run in runs if run.status is RunStatus.FAILED]
    if any(run.failure is not None and run.failure.code == "defect" for run in failed):
        return DEFECT
    if any(run.failure is not None and run.failure.kind == AuditMismatch.kind for run in failed):
        return AUDIT_MISMATCH
    if any(run.quarantined_at is not None for run in failed):
        return FAILED
    left = any(run.status in (RunStatus.PENDING, RunStatus.RUNNING) for run in runs)
    return TRANSIENT if failed or left else OK


def as_left(ended: Sequence[Run]) -> list[Run]:
    """Each run once, as its last attempt left it; `ended`: the end of each attempt, in order."""
    return list({run.id: run for run in ended}.values())
