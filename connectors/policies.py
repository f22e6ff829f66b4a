"""What becomes of a value that its column cannot hold: the one place, for every source.

A decoder never decides. It gives a batch under the contract's schema, with NULL (or, in a column whose policy is
`text`, the text as it came) where a value does not fit, and says which values those are. `settle` applies what the
configuration declares for each column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from connectors.cursor import instants
from state.contract import QUARANTINED
from state.errors import ContractError

__all__ = ["JOINED", "QUARANTINED", "BadValue", "Policy", "Settled", "misfit", "settle", "utf8"]

Policy = Literal["error", "null", "text", "quarantine"]
"""The read fails | the value is NULL | the column is text, the value stays as it came | the row is set aside."""

JOINED = "; "
_SHOWN = 80


@dataclass(frozen=True)
class BadValue:
    """A value that its column cannot hold. `row`: its place in the batch; `value`: the text as it came."""

    row: int
    column: str
    value: str
    reason: str


@dataclass(frozen=True)
class Settled:
    """A batch with its policies applied.

    `touched`: values that are NULL or text now, by column. `quarantined`: rows that left the batch, under
    `QUARANTINED`; None if there are none.
    """

    batch: pa.RecordBatch
    touched: Mapping[str, int]
    quarantined: pa.RecordBatch | None


def settle(
    batch: pa.RecordBatch,
    bad: Sequence[BadValue],
    policies: Mapping[str, Policy],
    where: Callable[[int], str],
    text: Callable[[int], str],
    *,
    cursor: str | None,
) -> Settled:
    """Apply `policies` (column → policy, those that are not named: error) to the values that do not fit.

    `where`: a row's name for an operator ("the row with id=7 of shop.orders"). `text`: the whole row as JSON text;
    both are asked only for rows that need them. `cursor`: the contract's cursor column, if there is one. Values of
    a row that is set aside are not counted as touched. Raises `ContractError` for the first value whose policy is
    error.
    """
    if not bad:
        return Settled(batch, {}, None)
    for one in sorted(bad, key=lambda one: one.row):
        if policies.get(one.column, "error") == "error":
            raise misfit(one, where(one.row), batch.schema.field(one.column).type)
    aside = {one.row for one in bad if policies[one.column] == "quarantine"}
    touched = Counter(one.column for one in bad if one.row not in aside)
    if not aside:
        return Settled(batch, dict(touched), None)
    rows = sorted(aside)
    keep = pa.array([row not in aside for row in range(batch.num_rows)], pa.bool_())
    return Settled(batch.filter(keep), dict(touched), _set_aside(batch, bad, rows, text, cursor))


def misfit(bad: BadValue, where: str, type_: pa.DataType) -> ContractError:
    """The error of a value whose policy is error; the value is shown bounded."""
    value = bad.value if len(bad.value) <= _SHOWN else f"{bad.value[:_SHOWN]}… ({len(bad.value)} characters)"
    return ContractError(
        f"{where}: column '{bad.column}' ({type_}) cannot hold {utf8(value)}: {bad.reason}",
        hint="Mend it in the source, give the column another type (`types`), or say in `on_bad_value` what becomes"
        f" of such values of '{bad.column}': null, text, or quarantine to set their rows aside.",
        code="bad_value",
    )


def _set_aside(
    batch: pa.RecordBatch,
    bad: Sequence[BadValue],
    rows: Sequence[int],
    text: Callable[[int], str],
    cursor: str | None,
) -> pa.RecordBatch:
    """These rows under `QUARANTINED`."""
    order = {name: place for place, name in enumerate(batch.schema.names)}
    of_row: dict[int, list[BadValue]] = {row: [] for row in rows}
    for one in sorted(bad, key=lambda one: order[one.column]):
        if one.row in of_row:
            of_row[one.row].append(one)
    columns = [
        [JOINED.join(one.column for one in of_row[row]) for row in rows],
        [JOINED.join(one.reason for one in of_row[row]) for row in rows],
        [utf8(JOINED.join(one.value for one in of_row[row])) for row in rows],
        [utf8(text(row)) for row in rows],
        instants(batch.column(cursor).take(pa.array(rows, pa.int64()))) if cursor else [None] * len(rows),
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, QUARANTINED, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=QUARANTINED)


def utf8(text: str) -> str:
    """Text that UTF-8 carries: half of a surrogate pair, or a byte that is none, becomes its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
