"""The seven phases, one module each. `STEPS` is the walk's table: phase → how it is performed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from service.bench import Bench
from service.phases import (
    audit,
    pre_validation,
    source_to_stage_transfer,
    stage_cleaning,
    stage_to_target_transfer,
    stale_pipeline_handling,
    target_cleaning,
)
from service.phases.outcome import Outcome
from state.model import Phase

Step = Callable[[Bench], Awaitable[Outcome]]

STEPS: Mapping[Phase, Step] = {
    Phase.STALE_PIPELINE_HANDLING: stale_pipeline_handling.perform,
    Phase.PRE_VALIDATION: pre_validation.perform,
    Phase.SOURCE_TO_STAGE_TRANSFER: source_to_stage_transfer.perform,
    Phase.STAGE_TO_TARGET_TRANSFER: stage_to_target_transfer.perform,
    Phase.AUDIT: audit.perform,
    Phase.STAGE_CLEANING: stage_cleaning.perform,
    Phase.TARGET_CLEANING: target_cleaning.perform,
}
