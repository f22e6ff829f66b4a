"""What a contract must be so that this target can hold it; looked at before anything is touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from loaders.base import Mode
from loaders.duckdb.settings import DuckDBTarget
from loaders.duckdb.types import INSTANTS, duck_type
from state.contract import RESERVED_PREFIX, Contract
from state.errors import ConfigurationError, ContractError

READ_AT_VERSION = "read_at"
"""The version that needs no column: the later look wins."""
ROW_NUMBER = "file_row_number"
"""A name that DuckDB itself gives a column of every Parquet file."""


def steady_columns(target: DuckDBTarget, cursor: str) -> list[str]:
    """Columns that rows are told apart, ordered or replaced by."""
    named = list(target.key) if target.mode is Mode.MERGE else []
    if target.mode is Mode.MERGE and target.version != READ_AT_VERSION:
        named.append(target.version)
    return [*named, cursor]


def require_usable(contract: Contract, target: DuckDBTarget, cursor: str) -> None:
    """Raises `ConfigurationError` for a column that the settings name and the contract lacks, `ContractError`
    for names or types that the target cannot hold."""
    require_columns(contract, target, cursor)
    require_names(contract.schema.names)
    for field in contract.schema:
        duck_type(field.name, field.type)
    if target.mode is Mode.APPEND:
        kind = duck_type(cursor, contract.schema.field(cursor).type)
        if kind not in INSTANTS and kind != "DATE":
            raise ConfigurationError(
                f"the cursor {cursor} is {kind}: append mode replaces a window's rows by it and needs a time",
                hint="Use mode merge, or a date or timestamp column as source_system.cursor.",
                code="cursor_type",
                path="source_system.cursor",
            )


def require_columns(contract: Contract, target: DuckDBTarget, cursor: str) -> None:
    if target.mode is Mode.MERGE and not target.key:
        raise ConfigurationError(
            "merge needs to know which columns identify a row",
            hint="Name them in target_system.key, or use mode append.",
            code="key",
            path="target_system.key",
        )
    for path, named in (
        ("source_system.cursor", [cursor]),
        ("target_system.key", target.key if target.mode is Mode.MERGE else ()),
        ("target_system.version", [target.version] if target.version != READ_AT_VERSION else []),
    ):
        for name in contract.missing(list(named)):
            raise ConfigurationError(
                f"{path} names the column {name}, which the source does not have",
                hint=f"The source has: {', '.join(contract.schema.names)}.",
                code="missing_column",
                path=path,
            )


def require_names(names: Sequence[str]) -> None:
    """Names that differ only in case are one to DuckDB; some names are ours."""
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        spellings[name.lower()].append(name)
        if name.lower().startswith(RESERVED_PREFIX) or name.lower() == ROW_NUMBER:
            raise ContractError(
                f"the source's column {name} has a name that is reserved",
                hint="Give it another name in source_system.columns.rename, or leave it out.",
                code="reserved_name",
            )
    for same in spellings.values():
        if len(same) > 1:
            raise ContractError(
                f"the columns {' and '.join(same)} differ only in case, and are one to DuckDB",
                hint="Rename all but one in source_system.columns.rename, or leave them out.",
                code="name_collision",
            )
