"""The kinds of targets that this version writes: kind → settings and loader, one line each.

Settings are plain and imported at once; a loader, and its vendor's library with it, only when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Discriminator, Field, Tag

from loaders.base import Loader
from loaders.duckdb.settings import DuckDBStage, DuckDBTarget
from loaders.snowflake.settings import SnowflakeStage, SnowflakeTarget
from state.port import Port, direct

if TYPE_CHECKING:
    from state.snowflake.session import Account

AnyTarget: TypeAlias = DuckDBTarget | SnowflakeTarget
AnyStage: TypeAlias = DuckDBStage | SnowflakeStage


def stage_kind(value: Any) -> str:
    """The kind that settings of a stage are meant for; duckdb where they do not say."""
    kind = value.get("type", "duckdb") if isinstance(value, dict) else getattr(value, "type", "duckdb")
    return str(kind)


TargetSettings = Annotated[AnyTarget, Field(discriminator="type")]
"""What `target_system` may be."""
StageSettings = Annotated[
    Annotated[DuckDBStage, Tag("duckdb")] | Annotated[SnowflakeStage, Tag("snowflake")], Discriminator(stage_kind)
]
"""What `stage_system` may be; its kind is the target's."""

LOADERS: Mapping[str, tuple[str, str]] = {
    "duckdb": ("loaders.duckdb.loader", "DuckDBLoader"),
    "snowflake": ("loaders.snowflake.loader", "SnowflakeLoader"),
}
"""Kind → module and class, called as `Class(target, stage[, account], pipeline=, cursor=, port=)`."""


def loader(
    target: AnyTarget,
    stage: AnyStage,
    account: Account | None = None,
    *,
    pipeline: str,
    cursor: str | None,
    port: Port = direct,
    alone: Callable[[], bool] = lambda: False,
) -> Loader:
    """The loader of a target with its stage, for the runs of `pipeline`; `account` is where a warehouse is.

    `alone()`: in this process nothing else than loaders opens a target that is a file now.
    """
    module, name = LOADERS[target.type]
    made: Any = getattr(import_module(module), name)
    given: list[Any] = [account] if isinstance(target, SnowflakeTarget) else []
    more: dict[str, Any] = {"alone": alone} if isinstance(target, DuckDBTarget) else {}
    return made(target, stage, *given, pipeline=pipeline, cursor=cursor, port=port, **more)  # type: ignore[no-any-return]


def load(settings: AnyTarget) -> None:
    """Import what they need, which takes up to a second the first time."""
    import_module(LOADERS[settings.type][0])
