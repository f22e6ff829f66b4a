"""The command test-phase: a phase on real rows, without the real target."""

from __future__ import annotations

from pathlib import Path

import typer

from service import exit_codes, views_of_run
from service.cli.pipelines import about, one_pipeline
from service.cli.stopping import until_told_to_stop
from service.console import Console
from service.progress import narrator
from service.report import RunReport, described
from service.settings import PipelineConfig
from service.trial import scratch, tried
from state.errors import ConfigurationError
from state.model import Phase, Run, Window


def test_phase(pipeline: str, phase: Phase, config: Path, window: Window | None, *, json: bool) -> None:
    """Try `phase` after those before it; exits as a run with that end does."""
    chosen = pipeline_of(pipeline, config)
    console = Console(json=json)
    with about(chosen), scratch(chosen, phase) as world:
        ended = until_told_to_stop(attempt(world, window, console), console)
    told = described(ended, "")
    if json:
        console.emit(answer(told, phase))
    else:
        console.show(views_of_run.trial_report(told, phase, console.out.width))
    if code := exit_codes.of_runs([ended]):
        raise typer.Exit(code)


def answer(told: RunReport, phase: Phase) -> dict[str, object]:
    """What a script reads: what became of `phase`, and why the trial failed if it did."""
    line = next(line for line in told.phases if line.phase is phase)
    return {
        "pipeline": told.pipeline,
        "window": told.window,
        "phase": phase,
        "status": line.status,
        "figures": line.figures,
        "validation_status": told.validation_status,
        "failure": told.failure,
    }


async def attempt(world: PipelineConfig, window: Window | None, console: Console) -> Run:
    with narrator(console.err) as emit:
        return await tried(world, window, emit)


def pipeline_of(text: str, config: Path) -> PipelineConfig:
    """The pipeline whose file `text` is, or whose name if `config` holds it. Raises `ConfigurationError`."""
    if Path(text).exists():
        return one_pipeline(Path(text))
    found = one_pipeline(config) if config.is_file() else None
    if found is not None and found.pipeline_metadata.pipeline_name == text:
        return found
    known = f"; {config} holds {found.pipeline_metadata.pipeline_name}" if found else ""
    raise ConfigurationError(
        f"{text!r} is neither a file nor a pipeline{known}",
        hint="Name the pipeline's configuration file.",
        code="no_configuration",
        path="PIPELINE",
    )
