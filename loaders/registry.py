"""The kinds of targets that this version writes: kind → settings and loader, one line each.

Settings are plain and imported at once; a loader, and its vendor's library with it, only when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from loaders.base import Loader
from loaders.duckdb.settings import DuckDBStage, DuckDBTarget
from state.port import Port, direct

TargetSettings = DuckDBTarget
"""What `target_system` may be."""
StageSettings = DuckDBStage
"""What `stage_system` may be; its kind is the target's."""

LOADERS: Mapping[str, tuple[str, str]] = {"duckdb": ("loaders.duckdb.loader", "DuckDBLoader")}
"""Kind → module and class, called as `Class(target, stage, pipeline=, cursor=, port=)`."""


def loader(
    target: TargetSettings, stage: StageSettings, *, pipeline: str, cursor: str, port: Port = direct
) -> Loader:
    """The loader of a target with its stage, for the runs of `pipeline`."""
    module, name = LOADERS[target.type]
    made: Any = getattr(import_module(module), name)
    return made(target, stage, pipeline=pipeline, cursor=cursor, port=port)  # type: ignore[no-any-return]
