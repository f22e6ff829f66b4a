"""The table contract: the columns that a source declares and a target must hold."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

JSON = pa.field("", pa.string(), metadata={b"sluiceway": b"json"}).metadata
"""Field metadata that marks a string column as JSON text."""

READ_AT = "_sluiceway_read_at"
"""Column of every chunk: the source's clock at the snapshot that the row was read in."""
RUN = "_sluiceway_run"
"""Column of the target: name of the run that wrote the row."""
LOADED_AT = "_sluiceway_loaded_at"
"""Column of the target: when the row was merged."""

RESERVED_PREFIX = "_sluiceway_"

QUARANTINED = pa.schema(
    [
        pa.field("bad_column", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("bad_value", pa.string(), nullable=False),
        pa.field("row_text", pa.string(), nullable=False),
        pa.field("row_cursor", pa.timestamp("us", "UTC")),
    ]
)
"""Rows that a policy sets aside, the same for every source. Where several values of a row do not fit, their
columns, reasons and values are joined by `; `, in the contract's order. `row_text` is the whole row as JSON text,
as it came; `row_cursor` its cursor, down to the microsecond, NULL where that is what does not fit."""


def json_field(name: str) -> pa.Field:
    """A column that holds JSON text exactly as it came."""
    return pa.field(name, pa.string(), metadata=JSON)


def is_json(field: pa.Field) -> bool:
    """True for a column made by `json_field`."""
    return bool((field.metadata or {}).get(b"sluiceway") == b"json")


@dataclass(frozen=True)
class Contract:
    """Columns with exact Arrow types, from the source's declaration and never inferred from rows.

    `schema`: the source's columns in order. `cursor`: the column windows are cut by, None if there is none
    and the table is only ever read whole. `key`: the columns that identify a row, empty if the source has none.
    """

    schema: pa.Schema
    cursor: str | None
    key: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of names, types and JSON marks, in order."""
        text = "\n".join(f"{f.name}\t{f.type}\t{is_json(f)}" for f in self.schema)
        return hashlib.sha256(text.encode()).hexdigest()

    def missing(self, columns: Sequence[str]) -> list[str]:
        """Those of `columns` that the schema does not have."""
        return [name for name in columns if name not in self.schema.names]


ASIDE = Contract(QUARANTINED, "row_cursor", ())
"""What side chunks are written under, whatever the pipeline's own contract."""
