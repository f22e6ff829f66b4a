"""Settings of the Snowflake target and of its stage: `target_system` and `stage_system` in the configuration."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from loaders.base import ConflictPolicy, Mode
from loaders.swap import SwapGuard
from state.settings import Group

Name = Annotated[str, Field(min_length=1)]


class NameRule(StrEnum):
    """How the source's columns are spelled in Snowflake."""

    UPPER = "upper"
    EXACT = "exact"


class Trust(StrEnum):
    """What the configuration may bring into a statement beside names and values."""

    NAMES = "names"
    USER_SQL = "user_sql"


class SnowflakeTarget(Group):
    """A table in Snowflake, reached by `snowflake_connection`."""

    type: Literal["snowflake"]
    """Kind of target. No default: the target is named."""
    table: Name
    """Target table `DB.SCHEMA.TABLE`, made if absent; parts are taken in upper case unless they stand in double
    quotes. No default."""
    mode: Mode = Mode.MERGE
    """`merge`: one row per key, the newest wins; `append`: the window's rows replace those an earlier run of it
    wrote; `snapshot`: each run replaces the whole table by the source as it is then. Default merge: it stays right
    when rows change or are read twice."""
    key: tuple[Name, ...] = ()
    """Columns that identify a row, as the source names them. Needed by merge, looked after in snapshot where it is
    given; empty by default, because guessing a key loses rows."""
    version: Name = "read_at"
    """What says which of two versions is newer: a column, or `read_at` for the later look. Default read_at: right
    without any promise by the source."""
    cursor_immutable: StrictBool = False
    """Declares that a key's cursor never changes, so that the target may be pruned by it. Default false: a wrong
    promise gives duplicates."""
    on_type_conflict: ConflictPolicy = ConflictPolicy.FAIL
    """What to do when a column's type changed: `fail`, or keep the values as `text` or `json`; the column is made
    anew in its place. Default fail: no silent change of a table that others read."""
    snapshot: SwapGuard = SwapGuard()
    """What mode snapshot does not do unasked: empty the table, or make it much smaller."""
    names: NameRule = NameRule.UPPER
    """`upper`: the source's `order-id` is ORDER_ID and its `from` FROM_, so that queries need no quotes; `exact`:
    names stay as they are. Default upper: it is what Snowflake does with names that are not quoted."""
    change_only: StrictBool = False
    """Leave a row alone whose data are the same as before, even if it was seen again later; needs a `version`
    column that moves with every change, and refuses other data at an equal version. Default false: the row then
    also tells when it was last seen; true rewrites less of the table."""
    large_values: StrictBool = False
    """Take texts and JSON of up to 128 MiB and binary values of up to 64 MiB, in columns that are made for them,
    instead of 16 and 8. Default false: accounts of before 2025 know no more; a larger value stops its run."""
    transform: Name | None = None
    """One SELECT that is taken in place of the staged rows, which it names `{stage}`; it gives each of them once,
    with the same key and every column of the stage table, ours too. Needs `trust: user_sql`. Default none."""
    trust: Trust = Trust.NAMES
    """`user_sql` lets `transform` into the load; it runs with the role of `snowflake_connection`. Default names:
    the configuration cannot bring SQL."""

    @model_validator(mode="after")
    def _trusted(self) -> SnowflakeTarget:
        if self.transform is not None and self.trust is not Trust.USER_SQL:
            raise ValueError("transform is SQL of your own: set trust: user_sql to let it run")
        return self

    @model_validator(mode="after")
    def _versioned(self) -> SnowflakeTarget:
        if self.change_only and (self.mode is not Mode.MERGE or self.version == "read_at"):
            raise ValueError(
                "change_only needs mode merge and a version column: what is left alone forgets its look"
            )
        return self


class SnowflakeStage(Group):
    """A named internal stage, and the name that stage tables begin with."""

    type: Literal["snowflake"] = "snowflake"
    """Kind of stage. Default: the target's; there is no other choice."""
    stage: Name
    """Named internal stage `DB.SCHEMA.STAGE` that holds staged files, made if absent. No default."""
    table: Name | None = None
    """Table `DB.SCHEMA.TABLE` whose name stage tables begin with. Default: the target's name with `_STAGE`, in the
    stage's schema."""
