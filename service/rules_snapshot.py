"""Rules about `target_system.mode: snapshot`, which reads tables whole, and about a source without a cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from loaders.swap import UNASKED
from service.problems import Problem, Severity
from service.settings import PipelineConfig


def windows_need_a_cursor(config: PipelineConfig) -> Iterator[Problem]:
    if config.source_system.cursor is None and not config.whole:
        yield Problem(
            "source_system.cursor",
            f"mode {config.target_system.mode} cuts windows by a cursor, and none is named",
            "Name the timestamp or date that tells when a row came or changed; or set target_system.mode: snapshot"
            " for a small table that is read whole.",
        )


def snapshot_needs_no_lookback(config: PipelineConfig) -> Iterator[Problem]:
    if config.whole and config.windows.lookback_seconds:
        yield Problem(
            "windows.lookback_seconds",
            "mode snapshot reads the whole table each time, late rows too",
            "Leave it out.",
            value=str(config.windows.lookback_seconds),
        )


def snapshot_keeps_what_the_source_keeps(config: PipelineConfig) -> Iterator[Problem]:
    cleaning = config.phases.target_cleaning
    if config.whole and cleaning.enabled and cleaning.function is None:
        yield Problem(
            "phases.target_cleaning.enabled",
            "mode snapshot holds what the source holds: the next run would bring old rows back",
            "Switch it off, and leave old rows out at the source.",
            value="true",
        )


def guard_is_of_mode_snapshot(config: PipelineConfig) -> Iterator[Problem]:
    if config.target_system.snapshot != UNASKED and not config.whole:
        yield Problem(
            "target_system.snapshot",
            f"mode {config.target_system.mode} does not read it",
            "Leave it out, or set target_system.mode: snapshot.",
            severity=Severity.WARNING,
        )


Judge = Callable[[PipelineConfig], Iterator[Problem]]
JUDGES: tuple[tuple[tuple[str, ...], Judge], ...] = (
    (("source_system", "target_system.mode"), windows_need_a_cursor),
    (("windows.lookback_seconds", "target_system.mode"), snapshot_needs_no_lookback),
    (("phases.target_cleaning", "target_system.mode"), snapshot_keeps_what_the_source_keeps),
    (("target_system.snapshot", "target_system.mode"), guard_is_of_mode_snapshot),
)
"""Each with the paths that decide."""
