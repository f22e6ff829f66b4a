"""From what a person types to what commands work with: the configuration of a pipeline, and one of its runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.config import load_config
from service.settings import PipelineConfig
from state.errors import ConfigurationError, SluicewayError


def one_pipeline(path: Path) -> PipelineConfig:
    """The configuration in a file. Raises `ConfigurationError`, with all problems if it is not valid."""
    if not path.exists():
        raise ConfigurationError(
            f"there is no configuration {path}",
            hint="Write one with `sluiceway init`, or name yours with --config FILE or SLUICEWAY_CONFIG.",
            code="no_configuration",
            path="--config",
        )
    if path.is_dir():
        raise ConfigurationError(
            f"{path} is a folder, and this command works on one pipeline",
            hint="Name the pipeline's file.",
            code="no_configuration",
            path="--config",
        )
    config = load_config(path)
    find_functions_beside(path)
    return config


def find_functions_beside(path: Path) -> None:
    """Make modules in the configuration's folder importable, after all others: `init --phases` writes there."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)


@contextmanager
def about(config: PipelineConfig) -> Iterator[None]:
    """An error that passes is told with the pipeline's name."""
    try:
        yield
    except SluicewayError as error:
        error.add_note(f"pipeline {config.pipeline_metadata.pipeline_name}")
        raise
