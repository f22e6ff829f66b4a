"""Which table and which stage is which in Snowflake, and how the source's columns are spelled there."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from loaders.aside import SIDE
from loaders.aside import TABLE as QUARANTINE
from loaders.columns import FILE as STAGE_FILE
from loaders.columns import ROW as STAGE_ROW
from loaders.snowflake.settings import NameRule, SnowflakeStage, SnowflakeTarget
from state.contract import LOADED_AT, READ_AT, RESERVED_PREFIX, RUN
from state.errors import ContractError
from state.model import Attempt, RunId
from state.snowflake.names import Name, parse, quoted

R, RUN_NAME, LOADED, FILE, ROW = (
    quoted(name.upper()) for name in (READ_AT, RUN, LOADED_AT, STAGE_FILE, STAGE_ROW)
)
"""Our own columns as they stand in a statement."""

RESERVED = """
    ALL ALTER AND ANY AS BETWEEN BY CASE CAST CHECK COLUMN CONNECT CONSTRAINT CREATE CURRENT CURRENT_DATE
    CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DELETE DISTINCT DROP ELSE EXISTS FALSE FOLLOWING FOR FROM GRANT
    GROUP HAVING ILIKE IN INCREMENT INSERT INTERSECT INTO IS LIKE LOCALTIME LOCALTIMESTAMP MINUS NOT NULL OF ON OR
    ORDER QUALIFY REGEXP REVOKE RLIKE ROW ROWS SAMPLE SELECT SET SOME START TABLE TABLESAMPLE THEN TO TRIGGER TRUE
    TRY_CAST UNION UNIQUE UPDATE VALUES WHEN WHENEVER WHERE WITH
"""
"""Words that are no column's name without quotes, or none in an expression: "Reserved & limited keywords" in the
documentation, but for those that only a FROM or a SHOW refuses."""

LEDGER = "__SLUICEWAY_LOADS"
"""What the name of a target's load table ends with."""


@dataclass(frozen=True)
class Names:
    """The objects that a loader works with. `staged`: what the names of stage tables begin with, and itself the
    table that a user's function fills."""

    target: Name
    ledger: Name
    stage: Name
    staged: Name
    quarantine: Name

    def stage_of(self, attempt: Attempt) -> Name:
        """The stage table of one attempt: `<stage table>_<run hash>_A<token>`."""
        return self.staged.beside(f"{self.stage_prefix(attempt.run)}{attempt.token}")

    def side_of(self, stage: Name) -> Name:
        """The stage table of side chunks, by the attempt's own."""
        return stage.beside(stage.last + SIDE)

    def empty_of(self, pipeline: str) -> Name:
        """The stage table of runs of a pipeline that have no rows: in its columns, which are not another one's."""
        digest = hashlib.sha256(pipeline.encode()).hexdigest()[:12].upper()
        return self.staged.beside(f"{self.staged.last}_EMPTY_{digest}")

    def stage_prefix(self, run: RunId) -> str:
        """What the names of a run's stage tables begin with."""
        return f"{self.staged.last}_{run.hash.upper()}_A"

    def run_hash(self, name: str) -> str | None:
        """The run that a stage table belongs to, by its hash; None for another table."""
        found = re.fullmatch(rf"{re.escape(self.staged.last)}_([0-9A-F]{{12}})_A\d+(?:{SIDE})?", name)
        return found[1].lower() if found else None

    def location(self, folder: str = "") -> str:
        """A folder of the stage in a statement: `@"DB"."SCHEMA"."STAGE"/folder/`."""
        return f"@{self.stage.sql}/{folder}"

    def folder(self, run: RunId) -> str:
        """Where the files of a run lie in the stage."""
        return f"{run.pipeline}/{run.hash}/"


def names(target: SnowflakeTarget, stage: SnowflakeStage) -> Names:
    """All names that follow from the settings. Raises `ConfigurationError` for one that is no name."""
    table = parse(target.table, path="target_system.table")
    place = parse(stage.stage, path="stage_system.stage")
    staged = place.beside(f"{table.last}_STAGE")
    if stage.table is not None:
        staged = parse(stage.table, path="stage_system.table")
    return Names(table, table.beside(table.last + LEDGER), place, staged, table.beside(table.last + QUARANTINE))


def spelled(name: str, rule: NameRule) -> str:
    """A source's column as it is called in Snowflake. Our own are upper-case whatever the rule."""
    return name if rule is NameRule.EXACT else unquoted(name)


def unquoted(name: str) -> str:
    """The name that is written without quotes, in any case: letters lose their accents, what Snowflake does not
    take becomes `_`, which also stands before a digit and behind a reserved word."""
    letters = unicodedata.normalize("NFKD", name.upper()).upper()
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    plain = re.sub(r"[^A-Z0-9_$]", "_", bare)
    if re.match(r"[A-Z_]", plain) is None:
        plain = f"_{plain}"
    return f"{plain}_" if plain in RESERVED.split() else plain


def require_distinct(columns: Sequence[str], rule: NameRule) -> None:
    """Raises `ContractError` for columns that are one in Snowflake, or that become one of ours there."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    for name in columns:
        same[spelled(name, rule)].append(name)
    for spelling, found in same.items():
        if spelling.startswith(RESERVED_PREFIX.upper()):
            raise ContractError(
                f"the source's column {found[0]} is {spelling} in Snowflake, a name that is reserved",
                hint="Give it another name in source_system.columns.rename, or leave it out.",
                code="reserved_name",
            )
        if len(found) > 1:
            raise ContractError(
                f"the columns {' and '.join(found)} are both {spelling} in Snowflake",
                hint="Rename all but one in source_system.columns.rename, or leave them out.",
                code="name_collision",
            )
