"""Numbers in JSON that a VARIANT does not keep: found in a chunk's file before it is put.

A VARIANT holds a number of up to 38 digits exactly, and any other one, and what is written with an exponent, as a
double. A double is right where it says the same number again: that of `1.5e-9` does, that of 39 digits does not.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from state.contract import is_json
from state.errors import ContractError
from state.model import Chunk

DIGITS, PLACES = 38, 37
"""Most digits of a NUMBER, and most of them behind the point."""

SUSPECT = r"[0-9][0-9.]{38}|[0-9][0-9.]{15}[eE][+-]?[0-9]|[0-9][eE][+-]?[0-9]{3,}(?:[\s,\]}]|$)"
"""Whatever a VARIANT may change matches: more than 38 digits, more before an exponent than any double keeps, and
an exponent that may be beyond a double's. Few other texts do."""

PIECES = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|(-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?)', re.DOTALL)
"""A text, in which digits are no number; or a number with its fraction and its exponent."""


@dataclass(frozen=True)
class Inexact:
    """The first number of a column that a VARIANT would change. `row`: in the file, from 0. `digits`: before
    an exponent."""

    column: str
    row: int
    digits: int


def inexact(file: pq.ParquetFile) -> list[Inexact]:
    """The first such number of each JSON column; looks closely only at values that a pattern suspects."""
    found: dict[str, Inexact] = {}
    names, row = [field.name for field in file.schema_arrow if is_json(field)], 0
    for number in range(file.metadata.num_row_groups if names else 0):
        group = file.read_row_group(number, columns=names)
        for name in names:
            if name not in found and (first := first_in(name, group.column(name), row)) is not None:
                found[name] = first
        row += group.num_rows
    return list(found.values())


def first_in(column: str, values: pa.ChunkedArray, row: int) -> Inexact | None:
    """The first of `values`, the first of which is in `row`."""
    suspects = pc.indices_nonzero(pc.match_substring_regex(values, SUSPECT).fill_null(False))
    for at in suspects.to_pylist():
        changed = changed_in(values[at].as_py())
        if changed is not None:
            return Inexact(column, row + at, sum(map(str.isdigit, re.split("[eE]", changed)[0])))
    return None


def changed_in(text: str) -> str | None:
    """The first number of a JSON text that a VARIANT would change."""
    for found in PIECES.finditer(text):
        number, _, exponent = found.groups()
        if number is not None and not (is_fixed(number, exponent) or is_double(number)):
            return str(number)
    return None


def is_fixed(number: str, exponent: str | None) -> bool:
    """Whether it is kept as the decimal that it is."""
    whole, _, places = number.lstrip("-").partition(".")
    return exponent is None and len(whole) + len(places) <= DIGITS and len(places) <= PLACES


def is_double(number: str) -> bool:
    """Whether the nearest double is written as the same number."""
    double = float(number)
    if double == 0.0 or math.isinf(double):
        return double == 0.0 and re.match(r"-?[0.]+([eE]|$)", number) is not None
    said = repr(double)
    return said == number or Decimal(said) == Decimal(number)


def refused(found: Inexact, chunk: Chunk) -> ContractError:
    """The error for a number of a column that becomes a VARIANT."""
    return ContractError(
        f"a number in column {found.column} of the file {chunk.name}, in its row {found.row}, would be another one"
        f" in Snowflake (digits: {found.digits})",
        hint="Bring it as text in the source, or read the column as text (source_system.columns.types).",
        code="value",
    )
