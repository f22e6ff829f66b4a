"""Rules about columns that rows of the target are told apart by: nothing may make two of them one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from connectors.mysql.settings import MysqlSettings
from service.problems import Problem
from service.settings import PipelineConfig


def keys_are_never_replaced(config: PipelineConfig) -> Iterator[Problem]:
    """NULL is no key, and two values that are both text by a policy may have been one."""
    for column in config.target_system.key:
        if (policy := config.source_system.policies.get(column)) in ("null", "text"):
            yield Problem(
                "target_system.key",
                f"rows are told apart by {column}, and on_bad_value makes it {policy} where it does not fit",
                f"Set on_bad_value of {column} to error or quarantine, or choose another key.",
                value=column,
            )


def keys_stay_different(config: PipelineConfig) -> Iterator[Problem]:
    """A mask makes all keys one; a float rounds whole numbers above 2^53 to the same."""
    source = config.source_system
    if not isinstance(source, MysqlSettings):
        return
    columns = source.columns
    sources = {new: old for old, new in columns.rename.items()}
    for column in config.target_system.key:
        own = sources.get(column, column)
        if own in columns.mask:
            yield _merged(column, "masked", f"Hash {own} instead (source_system.columns.hash)")
        elif columns.types.get(own) == "float64":
            yield _merged(column, "float64", f"Read {own} as it is declared, or as a decimal")


def _merged(column: str, how: str, remedy: str) -> Problem:
    return Problem(
        "target_system.key",
        f"rows are told apart by {column}, which is {how}: different rows would become one",
        f"{remedy}, or choose another key.",
        value=column,
    )


Judge = Callable[[PipelineConfig], Iterator[Problem]]
JUDGES: tuple[tuple[tuple[str, ...], Judge], ...] = (
    (("target_system.key", "source_system"), keys_are_never_replaced),
    (("target_system.key", "source_system"), keys_stay_different),
)
"""Each with the paths that decide."""
