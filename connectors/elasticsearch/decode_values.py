"""The exact way for one document: JSON text → values of the wanted columns, nothing lost and nothing guessed.

Slow (tens of microseconds per document), so only documents that the column reader refuses come here. A value
is accepted if the column holds it without loss, as the index does: `"7"` and `7.0` in an integer, a number or
a boolean in a keyword, one value in a list. Anything else is a `BadValue`.

Texts of values stay texts: numbers are never rounded on the way, and JSON columns get what the document says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import pyarrow as pa

from connectors.elasticsearch.decode_dates import date_parser
from connectors.elasticsearch.fields import UNSIGNED, FieldSpec
from connectors.policies import utf8

Value = bool | int | float | str | Decimal | None
"""What `pyarrow.array` takes for one cell; timestamps are integers in the column's unit."""


class BadValue(ValueError):
    """A value that its column cannot hold. `value` is its JSON text, `reason` says why, in a few words."""

    def __init__(self, value: str, reason: str) -> None:
        super().__init__(reason)
        self.value = value
        self.reason = reason


@dataclass(frozen=True)
class Cell:
    """One value for one column. `touched`: the document had it in another shape (a list, an empty text)."""

    value: Value
    touched: bool = False


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


scanstring = json.decoder.scanstring  # type: ignore[attr-defined]  # public in all but the type stubs
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_constant)
_YEAR_1 = -62_135_596_800 * 10**9
_YEAR_10000 = 253_402_300_800 * 10**9
_EXACT_FLOAT = 2.0**53


def members(text: str) -> Iterator[tuple[str, str]]:
    """(key, text of the value) of a JSON object, in order, repeated keys included. ValueError if it is none."""
    i = _after(text, 0, "{")
    while (i := _skip(text, i)) < len(text) and text[i] != "}":
        key, i = scanstring(text, _after(text, i, '"'))
        start = _skip(text, _after(text, i, ":"))
        _, i = _JSON.raw_decode(text, start)
        yield key, text[start:i]
        i = _next(text, i, "}")
    _end(text, _after(text, i, "}"))


def elements(text: str) -> Iterator[str]:
    """Texts of the values of a JSON array. ValueError if it is none."""
    i = _after(text, 0, "[")
    while (i := _skip(text, i)) < len(text) and text[i] != "]":
        _, end = _JSON.raw_decode(text, i)
        yield text[i:end]
        i = _next(text, end, "]")
    _end(text, _after(text, i, "]"))


def _skip(text: str, i: int) -> int:
    return _SPACE.match(text, i).end()  # type: ignore[union-attr]  # it also matches nothing


def _after(text: str, i: int, sign: str) -> int:
    i = _skip(text, i)
    if text[i : i + 1] != sign:
        raise ValueError(f"expected {sign} at character {i}")
    return i + 1


def _next(text: str, i: int, close: str) -> int:
    """Position of the closing sign, or of the value after a comma."""
    i = _skip(text, i)
    if text[i : i + 1] == close:
        return i
    i = _skip(text, _after(text, i, ","))
    if text[i : i + 1] == close:
        raise ValueError(f"a comma before {close}")
    return i


def _end(text: str, i: int) -> None:
    if _skip(text, i) != len(text):
        raise ValueError(f"more text at character {i}")


class _Found(NamedTuple):
    """The text of a value; whether it lies in a list; whether it stands where an object belongs."""

    text: str
    listed: bool
    misplaced: bool = False


@dataclass(frozen=True)
class _Node:
    """Where the wanted columns (by position) lie: at this very value, below it, and under which names."""

    here: tuple[int, ...]
    below: tuple[int, ...]
    steps: dict[str, _Node]


def _node(wanted: Sequence[tuple[int, tuple[str, ...]]]) -> _Node:
    """The node for (position, rest of the path); a name may cover several steps, joined by dots."""
    below = [(i, path) for i, path in wanted if path]
    steps: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
    for i, path in below:
        for cut in range(1, len(path) + 1):
            steps.setdefault(".".join(path[:cut]), []).append((i, path[cut:]))
    here = tuple(i for i, path in wanted if not path)
    return _Node(here, tuple(i for i, _ in below), {name: _node(rest) for name, rest in steps.items()})


class RowReader:
    """Reads the cells of one document at a time."""

    def __init__(self, fields: Sequence[FieldSpec]) -> None:
        """Raises ValueError for a date format that is not known."""
        self._json = [spec.json for spec in fields]
        self._convert = [json_text if spec.json else converter(spec) for spec in fields]
        self._root = _node([(i, spec.path) for i, spec in enumerate(fields)])

    def read(self, document: str) -> list[Cell | BadValue]:
        """The cells of the columns in order, a BadValue where the column cannot hold what is there.

        Raises ValueError if the document is no JSON object.
        """
        if not document.lstrip(" \t\n\r").startswith("{"):
            raise ValueError("not an object")
        out: list[list[_Found]] = [[] for _ in self._convert]
        _gather(document.strip(" \t\n\r"), self._root, out, listed=False)
        return [self._cell(i, found) for i, found in enumerate(out)]

    def _cell(self, i: int, found: list[_Found]) -> Cell | BadValue:
        try:
            values = found if self._json[i] else [one for value in found for one in _flat(value)]
            if not values:
                return Cell(None, touched=bool(found))
            if len(values) > 1:
                raise BadValue(f"[{','.join(value.text for value in values)}]", "several values for one column")
            if values[0].misplaced:
                raise BadValue(values[0].text, "a single value where the mapping has an object")
            result = self._convert[i](values[0].text)
        except BadValue as error:
            return error
        return Cell(result, touched=values[0].listed or result is None)


def _gather(text: str, node: _Node, out: list[list[_Found]], listed: bool) -> None:
    """Put the values that `node` wants into `out`."""
    if text == "null":
        return
    for i in node.here:
        out[i].append(_Found(text, listed))
    if node.steps:
        _descend(text, node, out, listed)


def _descend(text: str, node: _Node, out: list[list[_Found]], listed: bool) -> None:
    if text[0] == "[":
        below = _Node((), node.below, node.steps)
        for element in elements(text):
            _gather(element, below, out, listed=True)
    elif text[0] == "{":
        for key, value in members(text):
            if step := node.steps.get(key):
                _gather(value, step, out, listed)
    elif not node.here:  # where a field and its dotted namesakes exist side by side, it is in its place
        for i in node.below:
            out[i].append(_Found(text, listed, misplaced=True))


def _flat(value: _Found) -> Iterator[_Found]:
    """The values of a list, at any depth, without nulls, as the index takes them."""
    if value.text[0] != "[":
        yield value
        return
    for element in elements(value.text):
        if element != "null":
            yield from _flat(_Found(element, listed=True, misplaced=value.misplaced))


def converter(spec: FieldSpec) -> Callable[[str], Value]:
    """The function from the JSON text of one scalar, not null, to the cell of `spec`'s column."""
    if spec.checked is not None:
        return _checked(converter(replace(spec, type=spec.checked, checked=None)))
    if spec.formats:
        return _date(spec)
    if spec.type == pa.string():
        return _text
    if spec.type == pa.bool_():
        return _boolean
    if spec.type == pa.float64():
        return _numeric(_float)
    low, high = _limits(spec.type)
    return _numeric(lambda number: _integer(number, low, high, spec.type == UNSIGNED))


def _checked(convert: Callable[[str], Value]) -> Callable[[str], Value]:
    """What a value says, if `convert` takes it."""

    def read(value: str) -> Value:
        return None if convert(value) is None else _plain(value)

    return read


def bad_text(value: str) -> str:
    """What a value that does not fit says in a column of text: a string without its quotes, others as written."""
    return utf8(str(json.loads(value)) if value[0] == '"' else value)


def json_text(value: str) -> str:
    """The text itself, if it is JSON that UTF-8 can carry; half of a surrogate pair cannot be."""
    parsed = _JSON.decode(value)
    if "\\ud" in value.lower() and not _utf8(json.dumps(parsed, ensure_ascii=False)):
        raise BadValue(value, "half of a surrogate pair is not text")
    if not _utf8(value):
        raise BadValue(value, "the bytes are not UTF-8")
    return value


def _utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _limits(type_: pa.DataType) -> tuple[int, int]:
    if type_ == UNSIGNED:
        return -(10**20) + 1, 10**20 - 1
    return -(2 ** (type_.bit_width - 1)), 2 ** (type_.bit_width - 1) - 1


def _plain(value: str) -> str:
    """What a scalar says: a string without its quotes, a number or boolean as written. BadValue for an object."""
    if value[0] == "{":
        raise BadValue(value, "an object in a column for single values")
    return str(json.loads(value)) if value[0] == '"' else value


def _text(value: str) -> str:
    text = _plain(value)
    if not _utf8(text):
        raise BadValue(value, "half of a surrogate pair, or bytes that are not UTF-8, is not text")
    return text


def _boolean(value: str) -> bool:
    text = _plain(value)
    if text == "true":
        return True
    if text == "false" or value == '""':  # the index takes an empty text for false
        return False
    raise BadValue(value, "not a boolean")


def _numeric(convert: Callable[[str], Value]) -> Callable[[str], Value]:
    """`convert` for numbers and texts of numbers; an empty text is no value, as for the index."""

    def read(value: str) -> Value:
        text = _plain(value)
        if value == '""':
            return None
        if not _NUMBER.fullmatch(text):
            raise BadValue(value, "not a number")
        try:
            return convert(text)
        except BadValue as error:
            raise BadValue(value, error.reason) from None

    return read


def _float(text: str) -> float:
    """The nearest double. Where that can be off by a whole unit, only numbers that doubles hold pass, by all their
    digits or by the fewest that tell them from other doubles."""
    number = float(text)
    if abs(number) == float("inf"):
        raise BadValue(text, "too large for a double")
    if abs(number) >= _EXACT_FLOAT and Decimal(text) not in (Decimal(repr(number)), Decimal(number)):
        raise BadValue(text, "more digits than a double holds")
    return number


def _integer(text: str, low: int, high: int, decimal: bool) -> int | Decimal:
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise BadValue(text, "an exponent beyond reason") from None
    if not exact:
        return Decimal(0) if decimal else 0
    if exact.adjusted() > 20:
        raise BadValue(text, "out of range")
    if exact.adjusted() < 0 or exact != int(exact):
        raise BadValue(text, "not a whole number")
    if not low <= exact <= high:
        raise BadValue(text, "out of range")
    return Decimal(int(exact)) if decimal else int(exact)


def _date(spec: FieldSpec) -> Callable[[str], int]:
    parse = date_parser(spec.formats)
    step = {"us": 1_000, "ns": 1}[spec.type.unit]
    low, high = (_YEAR_1, _YEAR_10000) if spec.type.unit == "us" else (-(2**63) + 1, 2**63)

    def read(value: str) -> int:
        nanos = parse(_plain(value))
        if nanos is None:
            raise BadValue(value, f"not a date of format {'||'.join(spec.formats)}")
        if not low <= nanos < high:
            raise BadValue(value, "a date out of range")
        if nanos % step:
            raise BadValue(value, "finer than the microseconds of the column")
        return nanos // step

    return read
