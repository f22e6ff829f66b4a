"""What a phase hands back to the walk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from state.errors import TransientError, UnknownOutcome
from state.model import Manifest, Phase, Receipt, Run


class Outcome(msgspec.Struct, frozen=True):
    """Figures for the phase's column, and what else of the run changed; `skip` ends the run as SKIPPED."""

    figures: Mapping[str, Any] = msgspec.field(default_factory=dict)
    manifest: Manifest | None = None
    receipt: Receipt | None = None
    skip: bool = False


def recorded(run: Run, phase: Phase = Phase.SOURCE_TO_STAGE_TRANSFER) -> Mapping[str, Any]:
    """Figures that an earlier phase left in the drive row; empty if it did not run."""
    record = run.phases.get(phase)
    return record.figures if record else {}


@contextmanager
def repeatable() -> Iterator[None]:
    """An effect that may simply be done again: that nobody knows what became of it is then a passing matter."""
    try:
        yield
    except UnknownOutcome as error:
        raise TransientError(error.message, hint="It is done again.", code=error.code) from error
