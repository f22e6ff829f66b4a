"""What a source's columns must be so that a target can hold its rows; looked at before anything is touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from loaders.base import Mode
from state.contract import RESERVED_PREFIX, Contract, is_json
from state.errors import ConfigurationError, ContractError

READ_AT_VERSION = "read_at"
"""The version that needs no column: the later look wins."""
FILE = "_sluiceway_file"
"""Column of stage tables: the chunk that the row came from."""
ROW = "_sluiceway_row"
"""Column of stage tables: the row's number in its chunk, from 0."""


@dataclass(frozen=True)
class Needs:
    """The columns that a target's settings name."""

    mode: Mode
    key: tuple[str, ...]
    version: str
    cursor: str | None

    @property
    def keys(self) -> tuple[str, ...]:
        """What identifies a row; nothing does in append mode, and in snapshot mode what is named."""
        return () if self.mode is Mode.APPEND else self.key

    @property
    def cursor_column(self) -> str | None:
        """What windows are cut by; snapshot mode cuts nothing."""
        return None if self.mode is Mode.SNAPSHOT else self.cursor

    @property
    def version_column(self) -> str | None:
        """What orders a row's versions before the time of the look; only merge mode has use for it."""
        return None if self.mode is not Mode.MERGE or self.version == READ_AT_VERSION else self.version

    @property
    def steady(self) -> tuple[str, ...]:
        """Columns whose type must never change: rows are told apart, ordered or replaced by them."""
        return (*self.keys, *named(self.version_column), *named(self.cursor_column))


def named(column: str | None) -> tuple[str, ...]:
    """The column, where there is one."""
    return () if column is None else (column,)


def require_usable(contract: Contract, needs: Needs, reserved: Collection[str] = ()) -> None:
    """Raises `ConfigurationError` for a column that the settings name and the contract lacks, or that tells no
    rows apart, `ContractError` for names that are `reserved` (lower case), begin with our prefix, or differ only
    in case."""
    require_columns(contract, needs)
    require_scalars(contract, needs)
    require_names(contract.schema.names, reserved)


def require_columns(contract: Contract, needs: Needs) -> None:
    """The columns that the settings name are there."""
    if needs.mode is Mode.MERGE and not needs.key:
        raise ConfigurationError(
            "merge needs to know which columns identify a row",
            hint="Name them in target_system.key, or use mode append.",
            code="key",
            path="target_system.key",
        )
    for path, columns in (
        ("source_system.cursor", named(needs.cursor_column)),
        ("target_system.key", needs.keys),
        ("target_system.version", named(needs.version_column)),
    ):
        for name in contract.missing(columns):
            raise ConfigurationError(
                f"{path} names the column {name}, which the source does not have",
                hint=f"The source has: {', '.join(contract.schema.names)}.",
                code="missing_column",
                path=path,
            )


def require_scalars(contract: Contract, needs: Needs) -> None:
    """Key and version are no JSON and nothing nested: `{"a":1}` and `{"a": 1}` are one value to one comparison and
    two to another, so a key would be in the target twice."""
    for path, columns in (("key", needs.keys), ("version", named(needs.version_column))):
        for field in (contract.schema.field(name) for name in columns):
            if is_json(field) or pa.types.is_nested(field.type):
                raise ConfigurationError(
                    f"target_system.{path} names the column {field.name}, which is"
                    f" {'JSON' if is_json(field) else field.type}: equal values of it may be written differently",
                    hint="Name columns of text, numbers or times; make a value inside of it a column of its own,"
                    " or read the column as text (source_system.columns.types).",
                    code="column_type",
                    path=f"target_system.{path}",
                )


def require_names(names: Sequence[str], reserved: Collection[str]) -> None:
    """Names that differ only in case are one to most targets; some names are ours."""
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        spellings[name.lower()].append(name)
        if name.lower().startswith(RESERVED_PREFIX) or name.lower() in reserved:
            raise ContractError(
                f"the source's column {name} has a name that is reserved",
                hint="Give it another name in source_system.columns.rename, or leave it out.",
                code="reserved_name",
            )
    for same in spellings.values():
        if len(same) > 1:
            raise ContractError(
                f"the columns {' and '.join(same)} differ only in case, and are one to the target",
                hint="Rename all but one in source_system.columns.rename, or leave them out.",
                code="name_collision",
            )
