"""The type words of csv and ndjson: which column a word makes, and how its values are written.

| word | column | written, in csv and ndjson |
|---|---|---|
| `string` | text | csv: the text; ndjson: a string |
| `bool` | boolean | csv: true, True, TRUE, 1 or false, False, FALSE, 0; ndjson: true or false |
| `int8` `int16` `int32` `int64` | integer | decimal digits that fit; no fraction, no exponent |
| `float64` | nearest double | a finite decimal number; take `decimal(p,s)` where every digit counts |
| `decimal(p,s)` | exact decimal | p digits, at most 38, s of them after the point; more digits are an error |
| `date` | calendar day | `2025-11-15` |
| `timestamp` | instant, microseconds | ISO 8601, `2025-11-15T10:00:00.123456Z`, or an offset; no zone is UTC |
| `timestamp_ns` | instant, nanoseconds | the same with up to nine digits; the years 1678 to 2261 |
| `json` | JSON text | csv: the text; ndjson: any value; kept exactly as it came |
| `binary` | bytes | base64 |
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from state.contract import json_field

Convert = Callable[[pa.Array], pa.Array]
"""Texts, some NULL, to values. Raises ValueError (pyarrow's are) if one of them does not fit."""

ISO = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?$"
ISO_ZONE = r"(Z|[+-]\d\d(:?\d\d)?)$"
DAY_LENGTH = 10
"""Characters of `2025-11-15`; a zone comes after them."""


@dataclass(frozen=True)
class Word:
    """A type word. `type` of the column; `convert` makes it from texts, None where pyarrow's own readers do."""

    type: pa.DataType
    convert: Convert | None = None
    json: bool = False

    def field(self, name: str) -> pa.Field:
        """The contract's column."""
        return json_field(name) if self.json else pa.field(name, self.type)


class Misfit(ValueError):
    """A text that is no value of its column. `row`: its place in the array, from 0."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row


def check_word(word: str) -> str:
    """`word` itself. Raises ValueError naming it if it is none."""
    word_of(word)
    return word


def word_of(text: str) -> Word:
    """What a type word means. Raises ValueError naming it if it is none."""
    if found := WORDS.get(text):
        return found
    match = re.fullmatch(r"decimal\((\d{1,2}),\s?(\d{1,2})\)", text)
    if match and 1 <= int(match[1]) <= 38 and int(match[2]) <= int(match[1]):
        return Word(pa.decimal128(int(match[1]), int(match[2])))
    known = ", ".join(WORDS)
    raise ValueError(f"{text!r} is no type word; there are {known} and decimal(p,s) with s <= p <= 38")


def converted(word: Word, texts: pa.Array) -> pa.Array:
    """The column of `word` from its texts. Raises Misfit for the first that does not fit."""
    convert = word.convert
    assert convert is not None
    try:
        return convert(texts)
    except ValueError as error:
        row = first_failing(len(texts), lambda low, high: convert(texts.slice(low, high - low)))
        raise Misfit(row, f"{shown(texts[row].as_py())} does not fit") from error


def first_failing(count: int, attempt: Callable[[int, int], object]) -> int:
    """Place of the first of `count` things for which `attempt`, over a range of them, raises ValueError.

    At least one does, and each does so by itself; it is found by halving. `attempt(low, high)` is half-open.
    """
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        try:
            attempt(low, middle)
            low = middle
        except ValueError:
            high = middle
    return low


SHOWN = 80


def shown(text: str) -> str:
    """A value for a message: quoted, and cut where it is long."""
    return repr(text) if len(text) <= SHOWN else f"{text[:SHOWN]!r}… ({len(text)} characters)"


def instants(type_: pa.DataType) -> Convert:
    """Texts to instants of `type_`; those without a zone are UTC."""

    def convert(texts: pa.Array) -> pa.Array:
        if not pc.all(pc.match_substring_regex(texts, ISO), min_count=0).as_py():
            raise ValueError("not in ISO 8601")
        zoned = pc.match_substring_regex(pc.utf8_slice_codeunits(texts, DAY_LENGTH), ISO_ZONE)
        return pc.if_else(zoned, texts, pc.binary_join_element_wise(texts, "Z", "")).cast(type_)

    return convert


def _dates(texts: pa.Array) -> pa.Array:
    return texts.cast(pa.date32())


def _base64(texts: pa.Array) -> pa.Array:
    try:
        values = [None if text is None else base64.b64decode(text, validate=True) for text in texts.to_pylist()]
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    return pa.array(values, pa.binary())


def _json(texts: pa.Array) -> pa.Array:
    try:
        for text in texts.to_pylist():
            if text is not None:
                msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return texts


MICROS = pa.timestamp("us", "UTC")
NANOS = pa.timestamp("ns", "UTC")

WORDS: Mapping[str, Word] = {
    "string": Word(pa.string()),
    "bool": Word(pa.bool_()),
    "int8": Word(pa.int8()),
    "int16": Word(pa.int16()),
    "int32": Word(pa.int32()),
    "int64": Word(pa.int64()),
    "float64": Word(pa.float64()),
    "date": Word(pa.date32(), _dates),
    "timestamp": Word(MICROS, instants(MICROS)),
    "timestamp_ns": Word(NANOS, instants(NANOS)),
    "json": Word(pa.string(), _json, json=True),
    "binary": Word(pa.binary(), _base64),
}
"""Word → meaning; `decimal(p,s)` beside them."""
