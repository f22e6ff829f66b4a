"""Phase 6: archive the chunks where configured, then remove stage files and tables. Only after a green audit."""

from __future__ import annotations

from service.bench import Bench
from service.phases.outcome import Outcome, recorded, repeatable
from state.errors import ConfigurationError
from state.model import Phase, ValidationStatus

_GREEN = {ValidationStatus.PASSED, ValidationStatus.DRIFT}


async def perform(bench: Bench) -> Outcome:
    settings = bench.config.phases.stage_cleaning
    verdict = recorded(bench.run, Phase.AUDIT).get("validation_status")
    allowed = _GREEN | ({ValidationStatus.UNPROVEN} if settings.allow_unproven else set())
    if verdict not in allowed:
        raise ConfigurationError(
            f"the stage of {bench.run.name} is kept: its audit says {verdict or 'nothing'}",
            hint="Set phases.stage_cleaning.allow_unproven: true to clean up after an audit that proves less.",
            code="not_proven",
        )
    with repeatable():
        removed = await bench.loader.clean(bench.attempt, bench.run.manifest, settings.place)
    return Outcome({"files_removed": removed, "archive": settings.archive})
