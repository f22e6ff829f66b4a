"""Configuration text → plain values, with the line of each key. YAML as version 1.2 has it, or JSON.

Stricter than a YAML library: a key given twice is a problem, `on` and `no` are words, dates stay text, and
tags (`!!python/…`) are refused, so that text can never become anything but values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from service.problems import Problem
from service.reference import Keys

LARGEST_BYTES = 1024 * 1024
MOST_VALUES = 20_000
"""Values of a file with its aliases written out; more is a mistake or an attack."""


@dataclass(frozen=True)
class Place:
    """Where a key stands; `line` counts from 1, None where it is not known."""

    file: str
    line: int | None


@dataclass(frozen=True)
class Document:
    """A file's values, where they stand, and what is wrong with its text."""

    data: Mapping[str, Any]
    places: Mapping[Keys, Place] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


class _Unreadable(Exception):
    """The text is no configuration; the message says why, without a piece of the text."""

    def __init__(self, message: str, remedy: str, line: int | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.line = line


def read_file(path: Path) -> Document:
    """The document in a file. A file that cannot be read is a problem, not an error."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise _Unreadable("is larger than 1 MiB", "Give a configuration file.")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = (error.strerror or "error").lower()
        return _broken(str(path), f"cannot be read: {reason}", "Check the path and its permissions.")
    except UnicodeDecodeError:
        return _broken(str(path), "is not UTF-8 text", "Save it as UTF-8.")
    except _Unreadable as error:
        return _broken(str(path), str(error), error.remedy)
    return read_text(text, str(path))


def read_text(text: str, file: str) -> Document:
    """The document in `text`; JSON if `file` ends in `.json`, YAML otherwise."""
    try:
        return _json(text, file) if file.lower().endswith(".json") else _yaml(text, file)
    except _Unreadable as error:
        return _broken(file, str(error), error.remedy, error.line)
    except RecursionError:
        return _broken(file, "is nested too deeply", "Write plain groups and lists.")


def _broken(file: str, message: str, remedy: str, line: int | None = None) -> Document:
    return Document({}, {}, (Problem("", message, remedy, file=file, line=line),))


def _groups_at_the_top(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Unreadable(
            "is empty" if value is None else "is not a group of keys", "`sluiceway init` writes one to begin with."
        )
    return value


def _json(text: str, file: str) -> Document:
    problems: list[Problem] = []

    def group(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in pairs:
            if key in made:
                problems.append(_twice(key, Place(file, None)))
            made[key] = value
        return made

    def refuse(word: str) -> None:
        raise _Unreadable(f"{word} is no JSON value", "Write a number.")

    try:
        value = json.loads(text, object_pairs_hook=group, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise _Unreadable(f"is no JSON: {error.msg}", "Mend the text at this line.", error.lineno) from None
    except ValueError:  # an integer of thousands of digits
        raise _Unreadable("holds a number that is too long", "Write a number.") from None
    return Document(_groups_at_the_top(value), {(): Place(file, None)}, tuple(problems))


def _twice(path: str, place: Place) -> Problem:
    return Problem(path, "is given twice", "Keep one of them.", file=place.file, line=place.line)


class _Core(yaml.SafeLoader):
    """Plain scalars as YAML 1.2's core schema reads them."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_NULL, _BOOL, _INT, _FLOAT, _STR = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")
)
_GROUP, _LIST = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_DECIMAL = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
for _tag, _pattern, _first in (
    (_BOOL, r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (_NULL, r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (_INT, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (_FLOAT, _DECIMAL + r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
):
    _Core.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), list(_first))


def _yaml(text: str, file: str) -> Document:
    try:
        node = yaml.compose(text, Loader=_Core)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # What stands between quotes may be a piece of the file, and so of a secret.
        why = re.sub(r"'[^'<]{2,}'", "(…)", str(getattr(error, "problem", None) or "unreadable characters"))
        line = mark.line + 1 if mark else None
        raise _Unreadable(f"is no YAML: {why}", "Mend the text at this line.", line) from None
    reader = _Reader(file)
    value = reader.value(node, ()) if node is not None else None
    return Document(_groups_at_the_top(value), reader.places, tuple(reader.problems))


class _Reader:
    """Turns YAML nodes into values and notes where each stands."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[Keys, Place] = {}
        self.problems: list[Problem] = []
        self._values = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node, at: Keys) -> Any:
        self._values += 1
        line = node.start_mark.line + 1
        if self._values > MOST_VALUES:
            raise _Unreadable("holds too many values", "Write fewer aliases.", line)
        if id(node) in self._open:
            raise _Unreadable("holds an alias of itself", "Write the value out.", line)
        self.places.setdefault(at, Place(self.file, line))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, line)
        if node.tag not in (_GROUP, _LIST):
            raise _tagged(line)
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            made: Any = self._group(node, at)
        else:
            made = [self.value(item, (*at, position)) for position, item in enumerate(node.value)]
        self._open.discard(id(node))
        return made

    def _group(self, node: yaml.MappingNode, at: Keys) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, value in node.value:
            line = name.start_mark.line + 1
            if not isinstance(name, yaml.ScalarNode):
                raise _Unreadable("has a key that is no word", "Write keys as words.", line)
            key = str(name.value)
            if key in made:
                self.problems.append(_twice(".".join(map(str, (*at, key))), Place(self.file, line)))
                continue
            self.places[(*at, key)] = Place(self.file, line)
            made[key] = self.value(value, (*at, key))
        return made

    def _scalar(self, node: yaml.Node, line: int) -> Any:
        text = str(node.value)
        try:
            match node.tag:
                case tag if tag == _STR:
                    return text
                case tag if tag == _NULL:
                    return None
                case tag if tag == _BOOL:
                    return text.lower() == "true"
                case tag if tag == _INT:
                    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
                case tag if tag == _FLOAT:
                    return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        except ValueError:
            raise _Unreadable("holds a number that cannot be read", "Write a number.", line) from None
        raise _tagged(line)


def _tagged(line: int) -> _Unreadable:
    return _Unreadable("holds a tag (!…)", "Write a plain value; quote text that begins with `!`.", line)
