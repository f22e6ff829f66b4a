"""A pipeline with two windows of sixty rows, not yet loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.shell import Pipeline
from tests.lifecycle.world import events


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch) -> Pipeline:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # commands add the configuration's folder to it
    monkeypatch.delenv("SLUICEWAY_CONFIG", raising=False)
    made = Pipeline(tmp_path, {})
    made.world.write("day", events(120))
    made.save()
    return made


@pytest.fixture
def ready(pipeline: Pipeline) -> Pipeline:
    """The same with its drive table made."""
    assert pipeline.do("drive", "init").code == 0
    return pipeline
