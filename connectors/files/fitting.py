"""Columns with a value policy: read as texts, so that those which do not fit can be told one by one.

The other columns are read by pyarrow under their types at once, and the first value that does not fit is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from connectors.files.words import Convert, Word
from connectors.policies import BadValue, Policy, Settled

TRUE, FALSE = ("true", "True", "TRUE", "1"), ("false", "False", "FALSE", "0")
"""How a boolean is written in a csv."""


class Aside:
    """What policies did to the rows of one reading."""

    def __init__(self) -> None:
        self.touched: Counter[str] = Counter()
        self._rows: list[pa.RecordBatch] = []

    def note(self, settled: Settled) -> pa.RecordBatch:
        """Remember it; returns the rows that stay."""
        self.touched.update(settled.touched)
        if settled.quarantined is not None:
            self._rows.append(settled.quarantined)
        return settled.batch

    def taken(self) -> pa.RecordBatch | None:
        """Rows that were set aside since the last call; None if there are none."""
        rows, self._rows = self._rows, []
        return pa.Table.from_batches(rows).combine_chunks().to_batches()[0] if rows else None


class Fitting:
    """How the columns of `policies` are read; `words` are all columns with their declared type words."""

    def __init__(self, words: Mapping[str, tuple[str, Word]], policies: Mapping[str, Policy]) -> None:
        self.policies = {name: policy for name, policy in policies.items() if name in words and policy != "error"}
        self._words = words

    def column(self, name: str, texts: pa.Array) -> tuple[pa.Array, list[BadValue]]:
        """The column from its texts: NULL, or the text itself where it is a column of text, for each that does not
        fit; and which those are."""
        said, word = self._words[name]
        values, misfits = fitted(convert_of(word), word.type, texts)
        bad = [BadValue(row, name, texts[row].as_py(), f"no {said}") for row in misfits]
        return (texts if self.policies[name] == "text" else values), bad

    def field(self, name: str) -> pa.Field:
        """The contract's column."""
        as_text = self.policies.get(name) == "text"
        return pa.field(name, pa.string()) if as_text else self._words[name][1].field(name)


def convert_of(word: Word) -> Convert:
    """From texts to values, also for words that pyarrow's readers convert themselves."""
    if word.convert is not None:
        return word.convert
    if pa.types.is_string(word.type):
        return lambda texts: texts
    if pa.types.is_boolean(word.type):
        return _booleans
    return _floats if pa.types.is_floating(word.type) else _exact(word.type)


def fitted(convert: Convert, type_: pa.DataType, texts: pa.Array) -> tuple[pa.Array, Sequence[int]]:
    """Values, NULL where a text does not fit, and the places of those; they are found by halving."""
    pieces, misfits = [pa.array([], type_)], []

    def walk(low: int, high: int) -> None:
        try:
            pieces.append(convert(texts.slice(low, high - low)))
        except ValueError:
            if high - low == 1:
                pieces.append(pa.nulls(1, type_))
                misfits.append(low)
                return
            middle = (low + high) // 2
            walk(low, middle)
            walk(middle, high)

    walk(0, len(texts))
    return pa.concat_arrays(pieces), misfits


def _exact(type_: pa.DataType) -> Convert:
    return lambda texts: pc.utf8_trim_whitespace(texts).cast(type_)


def _floats(texts: pa.Array) -> pa.Array:
    values = pc.utf8_trim_whitespace(texts).cast(pa.float64())
    if not pc.all(pc.is_finite(values), min_count=0).as_py():
        raise ValueError("not finite")
    return values


def _booleans(texts: pa.Array) -> pa.Array:
    is_true, is_false = (pc.is_in(texts, pa.array(words)) for words in (TRUE, FALSE))
    if not pc.all(pc.or_(pc.or_(is_true, is_false), pc.is_null(texts)), min_count=0).as_py():
        raise ValueError("no boolean")
    return pc.if_else(pc.is_null(texts), pa.scalar(None, pa.bool_()), is_true)
