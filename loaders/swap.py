"""Mode snapshot: all rows of a target make room for the whole source, in one transaction.

What a loader counts before it swaps, and what is refused; how the rows are counted is its own matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from pydantic import Field, StrictBool

from loaders.base import Mode
from state.errors import ConfigurationError, ContractError, PermanentError, RestartAttempt, SluicewayError
from state.model import Attempt, MergeCounts, Window
from state.settings import Group

SETTING = "target_system.snapshot"
"""The path of the settings, for errors."""

EVER = Window(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
"""What a run of this mode changes: the rows of every window."""


def fenced_span(mode: Mode, window: Window) -> Window:
    """The span in which a higher token of the pipeline fences a run of `window`."""
    return EVER if mode is Mode.SNAPSHOT else window


class SwapGuard(Group):
    """What mode snapshot does not do to a target unasked. Other modes do not read it."""

    allow_empty: StrictBool = False
    """Let a source without rows empty the target. Default false: a source that was wiped, or a filter that matches
    nothing, would wipe the target too."""
    max_shrink_percent: Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)] = 50.0
    """Percent of the target's rows that it may have fewer after a run; if it would lose more, nothing is changed.
    Default 50: a table that loses half of its rows at once is looked at by somebody. A source without rows is
    `allow_empty`'s matter."""


UNASKED = SwapGuard()
"""Nothing of it."""


class Standing(msgspec.Struct, frozen=True):
    """What is there before a swap, each figure by a query of its own.

    `staged`: rows to swap in; `keys`: distinct keys among them, `nulls`: those without a value by column of the
    key, both of which need a key. `target`: rows of the target; `strangers`: those that no run of this pipeline
    wrote. `newer`: name of a run over a later window that this table has a receipt of.
    """

    staged: int
    target: int
    strangers: int
    newer: str | None = None
    keys: int | None = None
    nulls: Mapping[str, int] = msgspec.field(default_factory=dict)


def require_swap(guard: SwapGuard, attempt: Attempt, found: Standing) -> None:
    """Raises `PermanentError` where a later window is loaded, `ContractError` for a key that is NULL or there
    twice and for rows of somebody else's, `ConfigurationError` for what `guard` refuses."""
    for refusal in (
        newer_refused(attempt, found),
        key_refused(attempt, found),
        strangers_refused(found),
        shrink_refused(guard, found),
    ):
        if refusal is not None:
            raise refusal


def newer_refused(attempt: Attempt, found: Standing) -> SluicewayError | None:
    """The table as it was later is not replaced by the table as it was before."""
    if found.newer is None:
        return None
    return PermanentError(
        f"{attempt.name} is superseded: the target holds the table of a later window, by {found.newer}",
        hint="Nothing to do, and nothing was written: the next window loads the table as it is then.",
        code="newer_loaded",
    )


def key_refused(attempt: Attempt, found: Standing) -> SluicewayError | None:
    """A key is a promise about the source, and here nobody chooses between two rows of one key."""
    for name, count in found.nulls.items():
        if count:
            return ContractError(
                f"{count} rows of {attempt.name} have no value in the key column {name}",
                hint="Choose a key that every row has (target_system.key), or none: mode snapshot needs none.",
                code="null_key",
            )
    if found.keys is not None and found.keys != found.staged:
        return ContractError(
            f"{attempt.name} has {found.staged} rows but {found.keys} keys: some are there more than once",
            hint="Name more columns in target_system.key, or none: mode snapshot needs none.",
            code="duplicate_key",
        )
    return None


def strangers_refused(found: Standing) -> SluicewayError | None:
    """Every row of the target would go, so every row must be ours."""
    if not found.strangers:
        return None
    return ContractError(
        f"{found.strangers} of {found.target} rows of the target were not written by this pipeline, and mode"
        " snapshot would remove them",
        hint="Name a table of its own in target_system.table; or, if they are to go, remove them by hand.",
        code="foreign_rows",
    )


def shrink_refused(guard: SwapGuard, found: Standing) -> SluicewayError | None:
    """A target that is empty has nothing to lose."""
    figures = f"the source has {found.staged:,} rows, the target {found.target:,}"
    again = "find out where the rows are; nothing was written, and a retry reads the table again."
    if not found.staged and found.target and not guard.allow_empty:
        return ConfigurationError(
            f"{figures}: it would be empty",
            hint=f"If that is meant, set {SETTING}.allow_empty: true; else {again}",
            code="empty_source",
            path=f"{SETTING}.allow_empty",
        )
    lost = found.target - found.staged
    if found.staged and lost * 100 > guard.max_shrink_percent * found.target:
        return ConfigurationError(
            f"{figures}: it would lose more than max_shrink_percent ({guard.max_shrink_percent:g}) allows",
            hint=f"If that is meant, raise {SETTING}.max_shrink_percent for one run; else {again}",
            code="over_shrink",
            path=f"{SETTING}.max_shrink_percent",
        )
    return None


def swapped(attempt: Attempt, found: Standing, *, deleted: int, inserted: int, left: int) -> MergeCounts:
    """What a swap did, in the transaction that is open. Raises `RestartAttempt` unless the target holds exactly
    what was staged: `left` is its rows now, counted anew."""
    if not found.staged == inserted == left or deleted != found.target:
        raise RestartAttempt(
            f"the swap of {attempt.name} removed {deleted} of {found.target} rows, inserted {inserted} of"
            f" {found.staged}, and left {left}",
            hint="Nothing was written; find out who else writes to the target while Sluiceway does.",
            code="swap_counts",
        )
    return MergeCounts(found.staged, found.staged, inserted, deleted=deleted)
